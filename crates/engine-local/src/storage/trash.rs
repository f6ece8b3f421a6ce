//! Removal in two steps: renaming something into the trash takes no time, freeing it may.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use boxherd_sys::btrfs;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::error::{StorageError, refused};
use super::folder::unique;
use super::hands::Hands;

/// The folder of what is to be removed.
#[derive(Debug)]
pub(super) struct Trash {
    path: PathBuf,
    hands: Arc<dyn Hands>,
    /// The thread that empties it.
    broom: Mutex<Option<JoinHandle<Result<(), StorageError>>>>,
}

impl Trash {
    pub(super) fn new(path: PathBuf, hands: Arc<dyn Hands>) -> Self {
        Self { path, hands, broom: Mutex::new(None) }
    }

    /// Moves `path` here. `false` when there is nothing.
    pub(super) fn take(&self, path: &Path) -> Result<bool, StorageError> {
        match fs::rename(path, unique(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true).map_err(refused("remove", path)),
        }
    }

    pub(super) fn holds_something(&self) -> bool {
        fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Removes all that is here. Several threads and processes may do so at once.
    pub(super) fn empty(&self) -> Result<(), StorageError> {
        empty(&self.path, &*self.hands)
    }

    /// Has a thread remove all that is here. What is left when the process ends waits for the next.
    pub(super) fn empty_in_background(&self) {
        let mut broom = self.broom.lock();
        let earlier = broom.take();
        let (path, hands) = (self.path.clone(), Arc::clone(&self.hands));
        let sweep = move || {
            // The earlier thread may have listed the folder before the newest entry came; its
            // error comes again when it was not of the moment.
            drop(earlier.map(JoinHandle::join));
            empty(&path, &*hands)
        };
        match thread::Builder::new().name("trash".into()).spawn(sweep) {
            Ok(handle) => *broom = Some(handle),
            Err(error) => {
                tracing::warn!(%error, "no thread to empty the trash: the next sweep does")
            }
        }
    }

    /// Waits for the thread.
    pub(super) fn settle(&self) -> Result<(), StorageError> {
        let broom = self.broom.lock().take();
        broom.map_or(Ok(()), |broom| match broom.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

fn empty(trash: &Path, hands: &dyn Hands) -> Result<(), StorageError> {
    for entry in fs::read_dir(trash).map_err(refused("list", trash))? {
        hands.remove(&entry.map_err(refused("list", trash))?.path())?;
    }
    Ok(())
}

/// Removes a tree: folders, files, and subvolumes wherever they are. Succeeds when there is none.
pub(crate) fn remove(path: &Path) -> Result<(), StorageError> {
    remove_any(path).map_err(refused("remove", path))
}

fn remove_any(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if is_subvolume(&metadata) && remove_subvolume(path)? => Ok(()),
        Ok(metadata) if metadata.is_dir() => absent_is_fine(remove_folder(path)),
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

/// Removes the subvolumes inside a subvolume, at any depth.
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

/// A plain folder, which may hold subvolumes (the snapshots of a box) one level down.
fn remove_folder(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && is_subvolume(&fs::symlink_metadata(entry.path())?) {
            remove_any(&entry.path())?;
        }
    }
    fs::remove_dir_all(path)
}
