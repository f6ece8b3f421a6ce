//! `/dev` of every box: one folder of device files, made once and bound read-only into each.
//!
//! Its files belong to the host's root, who has no id in any box, so that not even a box with
//! `nesting` can change them.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// Name, major and minor number.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 7] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
    // Its users cannot make the socket here, and look for it here.
    ("log", "/run/systemd/journal/dev-log"),
];

/// Where filesystems of the box's own are mounted, and what covers folders that are to look empty.
const FOLDERS: [&str; 4] = ["pts", "shm", "mqueue", ".empty"];

/// Where the devices are, for those who may not make any and bind the host's.
pub(crate) fn bound() -> impl Iterator<Item = String> {
    DEVICES.iter().map(|(name, ..)| format!("/dev/{name}"))
}

/// Makes the folder unless it is there. Without root its devices are empty files, to bind devices
/// to.
pub(crate) fn ensure(folder: &Path) -> io::Result<()> {
    super::once(folder, fill)
}

fn fill(draft: &Path) -> io::Result<()> {
    let root = rustix::process::geteuid().is_root();
    for (name, major, minor) in DEVICES {
        let (path, mode) = (draft.join(name), Mode::from_raw_mode(0o666));
        if !root {
            fs::write(path, "")?;
            continue;
        }
        mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(major, minor))?;
        // Whatever the umask took away.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    }
    for (name, target) in LINKS {
        symlink(target, draft.join(name))?;
    }
    for name in FOLDERS {
        fs::create_dir(draft.join(name))?;
        fs::set_permissions(draft.join(name), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
