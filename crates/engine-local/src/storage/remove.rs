//! Removes what a box has left: folders, files, and subvolumes wherever they are.
//!
//! A box decides how deep its folders are, so neither the stack nor the open descriptors of whoever
//! removes them grow with that.

use std::ffi::{CStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use boxherd_sys::btrfs;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

use super::error::{StorageError, refused};
use super::folder::unique;

/// Folders below this many others are moved up before they are emptied.
const DEEPEST: usize = 16;

/// Removes a tree. Succeeds when there is none. The folder around it is one whose strange entries
/// are removed by somebody (`trash`, `making`): what lies deep is moved there first.
pub(crate) fn remove(path: &Path) -> Result<(), StorageError> {
    remove_any(path).map_err(refused("remove", path))
}

fn remove_any(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if is_subvolume(&metadata) && remove_subvolume(path)? => Ok(()),
        Ok(metadata) if metadata.is_dir() => {
            absent_is_fine(remove_subvolumes_in(path))?;
            remove_tree(path)
        }
        Ok(_) => absent_is_fine(fs::remove_file(path)),
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Whether this may be the folder of a subvolume: one has that inode number, others may too.
fn is_subvolume(metadata: &fs::Metadata) -> bool {
    metadata.is_dir() && metadata.ino() == btrfs::SUBVOLUME_INODE
}

/// `false` when it is no subvolume.
fn remove_subvolume(path: &Path) -> io::Result<bool> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let parent = File::open(parent)?;
    if !btrfs::is_btrfs(&parent)? {
        return Ok(false);
    }
    match btrfs::destroy_subvolume(&parent, name) {
        Err(error) if error.raw_os_error() == Some(Errno::NOTEMPTY.raw_os_error()) => {
            remove_nested(path, fs::symlink_metadata(path)?.dev())?;
            btrfs::destroy_subvolume(&parent, name)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result?,
    }
    Ok(true)
}

/// Removes the subvolumes inside a subvolume, at any depth. Boxes cannot make any, so this is about
/// those of an operator, who needs no protection from their depth.
fn remove_nested(folder: &Path, device: u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let metadata = fs::symlink_metadata(entry.path())?;
        if metadata.dev() != device && is_subvolume(&metadata) {
            remove_subvolume(&entry.path())?;
        } else {
            remove_nested(&entry.path(), device)?;
        }
    }
    Ok(())
}

/// A plain folder may hold subvolumes (the snapshots of a box) one level down.
fn remove_subvolumes_in(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = fs::symlink_metadata(entry.path());
        if metadata.is_ok_and(|metadata| is_subvolume(&metadata)) {
            remove_any(&entry.path())?;
        }
    }
    Ok(())
}

/// Folders of any depth, and what is in them.
fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(around), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let around = OwnedFd::from(File::open(around)?);
    let mut waiting = vec![name.to_owned()];
    while let Some(name) = waiting.pop() {
        if let Some(folder) = enter(&around, &name)? {
            empty(&folder, DEEPEST, &mut |deep| move_up(deep, &around, &mut waiting))?;
            gone(unlinkat(&around, &name, AtFlags::REMOVEDIR))?;
        }
    }
    Ok(())
}

/// A folder that lies too deep: where it is, and its name there.
type Deep<'a> = (BorrowedFd<'a>, &'a CStr);

/// Moves a folder into `around` under a name that nobody has.
fn move_up(
    (folder, name): Deep<'_>,
    around: &OwnedFd,
    waiting: &mut Vec<OsString>,
) -> io::Result<()> {
    let above = unique(&PathBuf::new()).into_os_string();
    match renameat(folder, name, around, &above) {
        Err(Errno::NOENT) => {}
        moved => {
            moved?;
            waiting.push(above);
        }
    }
    Ok(())
}

/// Removes what is in a folder, at most `levels` deep; the folders below are for `too_deep`.
fn empty(
    folder: &OwnedFd,
    levels: usize,
    too_deep: &mut dyn FnMut(Deep<'_>) -> io::Result<()>,
) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = match entry {
            // The kernel lists nothing of a folder that another process has removed.
            Err(Errno::NOENT) => return Ok(()),
            entry => entry?,
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            removed => {
                gone(removed)?;
                continue;
            }
        }
        if levels == 0 {
            too_deep((folder.as_fd(), name))?;
        } else if let Some(inner) = enter(folder, name)? {
            empty(&inner, levels - 1, too_deep)?;
            gone(unlinkat(folder, name, AtFlags::REMOVEDIR))?;
        }
    }
    Ok(())
}

/// Opens a folder; `None` when another process has removed it.
fn enter(around: impl AsFd, name: impl Arg) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(around, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        folder => Ok(Some(folder?)),
    }
}

/// What another process has removed meanwhile is as good as removed.
fn gone(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_may_remove_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let tree = folder.path().join(round.to_string());
            for name in 0..20 {
                let inner = tree.join(format!("{name}/a/b"));
                fs::create_dir_all(&inner).unwrap();
                fs::write(inner.join("file"), "").unwrap();
            }
            std::thread::scope(|scope| {
                let removers: Vec<_> = (0..4).map(|_| scope.spawn(|| remove(&tree))).collect();
                for remover in removers {
                    remover.join().unwrap().unwrap();
                }
            });
            assert!(!tree.exists());
        }
    }
}
