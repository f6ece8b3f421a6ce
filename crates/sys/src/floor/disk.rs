//! A writable layer with a limit, as boxes have one where the filesystem is btrfs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::btrfs::{self, Group};

const NAME: &str = "disk";
/// Bytes: what boxes get that ask for nothing.
const LIMIT: u64 = 10 << 30;

/// A subvolume that is made for every run.
#[derive(Debug)]
pub(super) struct Disk {
    folder: File,
    path: PathBuf,
}

impl Disk {
    pub(super) fn in_folder(folder: &Path) -> io::Result<Self> {
        Ok(Self { folder: File::open(folder)?, path: folder.join(NAME) })
    }

    /// The folder that has what an overlay writes to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn make(&self) -> io::Result<()> {
        btrfs::create_subvolume(&self.folder, OsStr::new(NAME), None)?;
        let number = btrfs::subvolume_id(File::open(&self.path)?)?;
        btrfs::limit_group(&self.folder, Group { level: 0, number }, LIMIT)?;
        ["upper", "work"].iter().try_for_each(|name| fs::create_dir(self.path.join(name)))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        btrfs::destroy_subvolume(&self.folder, OsStr::new(NAME))
    }
}

/// Whether the filesystem of `folder` is btrfs with quotas.
pub(super) fn possible(folder: &Path) -> io::Result<bool> {
    let folder = File::open(folder)?;
    if !btrfs::is_btrfs(&folder)? {
        return Ok(false);
    }
    let groups = Path::new("/sys/fs/btrfs").join(btrfs::filesystem_id(&folder)?).join("qgroups");
    Ok(groups.exists())
}
