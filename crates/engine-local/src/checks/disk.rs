//! The data folder: how much is free, and whether disks can be limited.

use std::path::Path;

use boxherd_engine::Check;
use boxherd_model::Capability;

use super::programs::find;
use super::{broken, is_root, missing, works};
use crate::capabilities::look;
use crate::core::Core;

/// With less, an image can hardly be pulled.
const ENOUGH: u64 = 2 << 30;
/// A box makes some hundred files, an image tens of thousands.
const ENOUGH_FILES: u64 = 50_000;

pub(super) fn space(data: &Path) -> Check {
    const NAME: &str = "free disk";
    let there = data.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let found = match rustix::fs::statvfs(there) {
        Ok(found) => found,
        Err(errno) => {
            let found = format!("cannot look at `{}`: {errno}", there.display());
            return broken(NAME, found, "choose another data folder with `--data DIR`");
        }
    };
    let (bytes, files) = (found.f_bavail.saturating_mul(found.f_frsize), found.f_favail);
    // Filesystems that make inodes as they go say 0 of 0.
    let few_files = found.f_files > 0 && files < ENOUGH_FILES;
    let tenths = bytes.saturating_mul(10) >> 30;
    let text = format!("{}.{} GiB at `{}`", tenths / 10, tenths % 10, there.display());
    let fix = "make room, or choose a data folder on another disk with `--data DIR`";
    match (bytes < ENOUGH, few_files) {
        (false, false) => works(NAME, text),
        (true, _) => missing(NAME, format!("only {text}"), fix),
        (false, true) => missing(NAME, format!("{text}, but only {files} files"), fix),
    }
}

pub(super) fn attached(core: &Core) -> Check {
    const NAME: &str = "disks to attach";
    match look(core, Capability::Disks) {
        Ok(()) => works(NAME, "ext4 in files of the data folder, on loop devices"),
        Err(reason) => {
            missing(NAME, reason, "run as root, with `mkfs.ext4` of the package `e2fsprogs`")
        }
    }
}

pub(super) fn limits(core: &Core) -> Check {
    const NAME: &str = "disk limits";
    match core.pool.can_limit() {
        Ok(()) => works(NAME, format!("{:?}, with quota groups", core.pool.kind())),
        Err(reason) if !is_root() => {
            missing(NAME, reason, "run as root, or choose a data folder on btrfs with quotas")
        }
        Err(reason) => {
            let first = match find("mkfs.btrfs") {
                Some(_) => "",
                None => "install the package `btrfs-progs`, then ",
            };
            missing(
                NAME,
                reason,
                format!("{first}`boxherd doctor --fix` makes a btrfs pool in a file"),
            )
        }
    }
}
