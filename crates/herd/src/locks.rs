//! Locks that the kernel drops with their holder: who is alive, and who works on a box.
//!
//! A lock is a file in a folder, held by `flock`. Its file stays while it is held and is removed by
//! whoever holds it last; a holder makes sure that the file it locked is still the one with that
//! name, so that a removed file never counts.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Removed while it is held: nobody else can hold the file of that name. A file that stays
        // behind (the folder is gone, or read-only) is an unheld lock, which means the same.
        drop(fs::remove_file(&self.path));
    }
}

/// Takes the lock `name`, or says `None` when somebody else holds it.
pub fn try_hold(folder: &Path, name: &str) -> io::Result<Option<Held>> {
    let path = folder.join(name);
    loop {
        let file = open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if is_still_there(&file, &path)? {
            return Ok(Some(Held { path, _file: file }));
        }
    }
}

/// Whether somebody holds the lock `name`.
pub fn is_held(folder: &Path, name: &str) -> io::Result<bool> {
    if !folder.join(name).exists() {
        return Ok(false);
    }
    Ok(try_hold(folder, name)?.is_none())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// Between opening and locking, the last holder may have removed the file.
fn is_still_there(file: &File, path: &Path) -> io::Result<bool> {
    let locked = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok(named.ino() == locked.ino() && named.dev() == locked.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let held = try_hold(folder.path(), "a").unwrap().expect("free");
        assert!(try_hold(folder.path(), "a").unwrap().is_none());
        assert!(is_held(folder.path(), "a").unwrap());
        assert!(!is_held(folder.path(), "b").unwrap());
        drop(held);
        assert!(!is_held(folder.path(), "a").unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_file_of_a_dead_holder_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        assert!(!is_held(folder.path(), "a").unwrap());
    }

    #[test]
    fn of_many_at_once_one_holds() {
        let folder = tempfile::tempdir().unwrap();
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Some(held) = try_hold(folder.path(), "a").unwrap() {
                            let before = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            assert_eq!(before, 0);
                            inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(held);
                        }
                    }
                });
            }
        });
    }
}
