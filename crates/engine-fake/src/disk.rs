//! Folders that stand for disks.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Copies a tree: files, folders, symbolic links and permissions. Other kinds of files are of this
/// boot and not of the disk, and are left out.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
        }
    }
    // Last, since a folder that is read-only could not be filled.
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}

/// Removes a tree; succeeds when there is none.
pub(crate) fn remove(tree: &Path) -> io::Result<()> {
    match fs::remove_dir_all(tree) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(tree)?;
            fs::remove_dir_all(tree)
        }
        done => done,
    }
}

/// Makes every folder of a tree writable, for those that are not root.
fn unlock(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

/// Bytes of all files of a tree.
pub(crate) fn used(tree: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        sum += if kind.is_dir() { used(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}
