//! The order of the work: folders are listed, their entries copied in batches by whichever thread
//! is free, and each folder gets its times when its last entry is there.
//!
//! A box decides how deep and how wide the tree is. So nothing here recurses, and a folder is open
//! only while its own entries are copied: those in it are entered by their path, later.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{Dir, Stat, fstat};

use super::{entry, walk};
use crate::storage::error::{StorageError, refused};

/// Entries that one thread takes at a time.
const BATCH: usize = 32;

/// A folder that is being copied.
pub(super) struct Folder {
    pub(super) source: OwnedFd,
    pub(super) target: OwnedFd,
    /// Relative to the root of the tree.
    pub(super) path: PathBuf,
    stat: Stat,
    /// Entries not yet copied.
    left: AtomicUsize,
}

enum Job {
    /// Open the folder of that path and list it.
    Enter(PathBuf),
    /// Copy these entries.
    Copy(Arc<Folder>, Vec<OsString>),
}

struct Queue {
    /// Entries of folders that are open. They come first, so that few are.
    copies: Vec<(Arc<Folder>, Vec<OsString>)>,
    /// Folders to enter, the last found first.
    folders: Vec<PathBuf>,
    /// Threads that are busy and may yet add jobs.
    busy: usize,
    error: Option<StorageError>,
}

impl Queue {
    fn pop(&mut self) -> Option<Job> {
        let copy = self.copies.pop().map(|(folder, names)| Job::Copy(folder, names));
        copy.or_else(|| self.folders.pop().map(Job::Enter))
    }

    fn is_done(&self) -> bool {
        self.busy == 0 && self.copies.is_empty() && self.folders.is_empty()
    }
}

/// What all threads share.
pub(super) struct Work {
    queue: Mutex<Queue>,
    changed: Condvar,
    root: PathBuf,
    /// Where the first copy of each file with several names went, by device and inode.
    pub(super) links: Mutex<HashMap<(u64, u64), PathBuf>>,
    source_root: OwnedFd,
    pub(super) target_root: OwnedFd,
    /// Whether cloning of extents has not failed yet.
    pub(super) reflink: AtomicBool,
}

/// Copies the tree at `source` into `target` with that many threads. `name` is for messages.
pub(super) fn run(
    source: OwnedFd,
    target: OwnedFd,
    name: &Path,
    threads: usize,
) -> Result<(), StorageError> {
    let queue = Queue { copies: Vec::new(), folders: vec![PathBuf::new()], busy: 0, error: None };
    let work = Work {
        queue: Mutex::new(queue),
        changed: Condvar::new(),
        root: name.to_owned(),
        links: Mutex::default(),
        source_root: source,
        target_root: target,
        reflink: AtomicBool::new(true),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| work.take_part());
        }
        work.take_part();
    });
    work.queue.into_inner().error.map_or(Ok(()), Err)
}

impl Work {
    /// Does jobs until there are none and nobody can add any, or something failed.
    fn take_part(&self) {
        while let Some(job) = self.next() {
            let result = self.perform(job);
            let mut queue = self.queue.lock();
            queue.busy -= 1;
            if let Err(error) = result {
                queue.copies.clear();
                queue.folders.clear();
                queue.error.get_or_insert(error);
            }
            if queue.is_done() {
                self.changed.notify_all();
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if queue.error.is_some() {
                return None;
            }
            if let Some(job) = queue.pop() {
                queue.busy += 1;
                return Some(job);
            }
            if queue.busy == 0 {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    fn perform(&self, job: Job) -> Result<(), StorageError> {
        match job {
            Job::Enter(path) => {
                let folder = self.enter(&path).map_err(self.failed(&path))?;
                self.list(folder)
            }
            Job::Copy(folder, names) => {
                names.iter().try_for_each(|name| self.entry(&folder, name))?;
                self.finish(&folder, names.len())
            }
        }
    }

    fn enter(&self, path: &Path) -> io::Result<Folder> {
        let source = walk::open_folder(&self.source_root, path)?;
        let target = walk::open_folder(&self.target_root, path)?;
        let stat = fstat(&source)?;
        Ok(Folder { source, target, path: path.to_owned(), stat, left: AtomicUsize::new(0) })
    }

    fn list(&self, folder: Folder) -> Result<(), StorageError> {
        let names = names(&folder.source).map_err(self.failed(&folder.path))?;
        folder.left.store(names.len(), Ordering::Relaxed);
        let folder = Arc::new(folder);
        if names.is_empty() {
            return self.finish(&folder, 0);
        }
        let batches = names.chunks(BATCH).map(|some| (Arc::clone(&folder), some.to_vec()));
        self.queue.lock().copies.extend(batches);
        self.changed.notify_all();
        Ok(())
    }

    fn entry(&self, folder: &Folder, name: &OsString) -> Result<(), StorageError> {
        if entry::copy(self, folder, name)? {
            self.queue.lock().folders.push(folder.path.join(name));
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Notes that `count` entries are there, and gives the folder its attributes with the last.
    fn finish(&self, folder: &Folder, count: usize) -> Result<(), StorageError> {
        if folder.left.fetch_sub(count, Ordering::AcqRel) > count {
            return Ok(());
        }
        entry::dress(&folder.source, &folder.target, &folder.stat)
            .map_err(self.failed(&folder.path))
    }

    /// The error for the entry `path` of the tree.
    pub(super) fn failed(&self, path: &Path) -> impl Fn(io::Error) -> StorageError + use<> {
        refused("copy", &self.path(path))
    }

    /// Where the entry `path` of the tree is.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

fn names(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}
