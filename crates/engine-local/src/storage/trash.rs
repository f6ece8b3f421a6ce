//! Removal in two steps: renaming something into the trash takes no time, freeing it may.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

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
        *broom = spawn(sweep);
    }

    /// Has a thread remove what other processes have left, for which nobody waits.
    pub(super) fn empty_for_others(&self) {
        let (path, hands) = (self.path.clone(), Arc::clone(&self.hands));
        spawn(move || {
            if let Err(error) = empty(&path, &*hands) {
                tracing::warn!(%error, "the trash is not empty: the next sweep tries again");
            }
        });
    }

    /// Whether [`settle`](Self::settle) returns at once.
    pub(super) fn is_settled(&self) -> bool {
        self.broom.lock().as_ref().is_none_or(JoinHandle::is_finished)
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

/// A thread that sweeps. Without one, the trash waits for the next.
fn spawn<T: Send + 'static>(sweep: impl FnOnce() -> T + Send + 'static) -> Option<JoinHandle<T>> {
    let spawned = thread::Builder::new().name("trash".into()).spawn(sweep);
    let told = |error: &io::Error| {
        tracing::warn!(%error, "no thread to empty the trash: the next sweep does");
    };
    spawned.inspect_err(told).ok()
}

fn empty(trash: &Path, hands: &dyn Hands) -> Result<(), StorageError> {
    for entry in fs::read_dir(trash).map_err(refused("list", trash))? {
        hands.remove(&entry.map_err(refused("list", trash))?.path())?;
    }
    Ok(())
}
