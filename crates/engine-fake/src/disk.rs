//! Folders that stand for disks.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What the agent looks up in a box, and what a refresh renews.
const FILES: &[(&str, &str)] = &[
    ("etc/group", "root:x:0:\nusers:x:100:\nnogroup:x:65534:\n"),
    ("etc/hostname", "box\n"),
    ("etc/machine-id", "uninitialized\n"),
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n",
    ),
];

/// Makes the disk of a new box.
pub(crate) fn make(disk: &Path) -> io::Result<()> {
    for folder in ["", "etc", "root", "tmp"] {
        fs::create_dir(disk.join(folder))?;
    }
    FILES.iter().try_for_each(|(file, content)| fs::write(disk.join(file), content))
}

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
            copy_file(&source, &target)?;
        }
    }
    // Last, since a folder that is read-only could not be filled.
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    // Reading is enough to set the times of a file of one's own.
    File::open(to)?.set_modified(fs::metadata(from)?.modified()?)
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
