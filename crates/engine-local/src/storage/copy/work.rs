//! The order of the work: folders are listed, their entries copied in batches by whichever thread
//! is free, and each folder gets its times when its last entry is there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{Dir, OFlags, Stat, fstat, openat};

use super::entry;
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
    /// List a folder: one whose parent is given, or the root.
    List(Folder),
    /// Open the folder of that name and list it.
    Enter(Arc<Folder>, OsString),
    /// Copy these entries.
    Copy(Arc<Folder>, Vec<OsString>),
}

struct Queue {
    jobs: Vec<Job>,
    /// Threads that are busy and may yet add jobs.
    busy: usize,
    error: Option<StorageError>,
}

/// What all threads share.
pub(super) struct Work {
    queue: Mutex<Queue>,
    changed: Condvar,
    root: PathBuf,
    /// Where the first copy of each file with several names went, by device and inode.
    pub(super) links: Mutex<HashMap<(u64, u64), PathBuf>>,
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
    let failed = refused("copy", name);
    let stat = fstat(&source).map_err(|error| failed(error.into()))?;
    let target_root = target.try_clone().map_err(&failed)?;
    let root = Folder { source, target, path: PathBuf::new(), stat, left: AtomicUsize::new(0) };
    let work = Work {
        queue: Mutex::new(Queue { jobs: vec![Job::List(root)], busy: 0, error: None }),
        changed: Condvar::new(),
        root: name.to_owned(),
        links: Mutex::default(),
        target_root,
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
                queue.jobs.clear();
                queue.error.get_or_insert(error);
            }
            if queue.busy == 0 && queue.jobs.is_empty() {
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
            if let Some(job) = queue.jobs.pop() {
                queue.busy += 1;
                return Some(job);
            }
            if queue.busy == 0 {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    fn add(&self, jobs: impl IntoIterator<Item = Job>) {
        self.queue.lock().jobs.extend(jobs);
        self.changed.notify_all();
    }

    fn perform(&self, job: Job) -> Result<(), StorageError> {
        match job {
            Job::List(folder) => self.list(folder),
            Job::Enter(parent, name) => {
                let path = parent.path.join(&name);
                let folder = enter(&parent, &name, &path).map_err(self.failed(&path))?;
                drop(parent);
                self.list(folder)
            }
            Job::Copy(folder, names) => {
                names.iter().try_for_each(|name| self.entry(&folder, name))?;
                self.finish(&folder, names.len())
            }
        }
    }

    fn list(&self, folder: Folder) -> Result<(), StorageError> {
        let names = names(&folder.source).map_err(self.failed(&folder.path))?;
        folder.left.store(names.len(), Ordering::Relaxed);
        let folder = Arc::new(folder);
        if names.is_empty() {
            return self.finish(&folder, 0);
        }
        self.add(names.chunks(BATCH).map(|some| Job::Copy(Arc::clone(&folder), some.to_vec())));
        Ok(())
    }

    fn entry(&self, folder: &Arc<Folder>, name: &OsString) -> Result<(), StorageError> {
        if entry::copy(self, folder, name)? {
            self.add([Job::Enter(Arc::clone(folder), name.clone())]);
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

fn enter(parent: &Folder, name: &OsString, path: &Path) -> io::Result<Folder> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = openat(&parent.source, name, flags, rustix::fs::Mode::empty())?;
    let target = openat(&parent.target, name, flags, rustix::fs::Mode::empty())?;
    let stat = fstat(&source)?;
    Ok(Folder { source, target, path: path.to_owned(), stat, left: AtomicUsize::new(0) })
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
