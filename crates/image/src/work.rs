//! Work in progress: a folder below `tmp/` that is litter as soon as its owner is dead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ImageError;
use crate::lock::{Hold, Lock};
use crate::tree::remove_tree;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A folder for one piece of work. Dropping it removes the folder and what is in it.
#[derive(Debug)]
pub(crate) struct Work {
    folder: PathBuf,
    lock_path: PathBuf,
    _lock: Lock,
}

impl Work {
    /// Makes a folder below `tmp`.
    pub(crate) fn begin(tmp: &Path) -> Result<Self, ImageError> {
        loop {
            // Another process may use the same number (its pid namespace is another): the lock
            // decides, and the loser takes the next number.
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let folder = tmp.join(format!("{}-{number}", std::process::id()));
            let lock_path = folder.with_extension("lock");
            let lock = Lock::attempt_now(&lock_path, Hold::Exclusive)
                .map_err(|error| ImageError::io("lock", &lock_path, error))?;
            let Some(lock) = lock else { continue };
            let made = clear(&folder).and_then(|()| fs::create_dir(&folder));
            made.map_err(|error| {
                // The first error says more, and a lock without a folder is swept with the others.
                drop(fs::remove_file(&lock_path));
                ImageError::io("make", &folder, error)
            })?;
            return Ok(Self { folder, lock_path, _lock: lock });
        }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // The lock file goes last: while it is there, the next owner of the store knows what to
        // clean, so a failure here is only litter for a while.
        let cleared = clear(&self.folder).and_then(|()| fs::remove_file(&self.lock_path));
        if let Err(error) = cleared {
            tracing::warn!(folder = %self.folder.display(), %error, "work was left behind");
        }
    }
}

/// Removes the folders below `tmp` whose owners are dead.
pub(crate) fn clean_litter(tmp: &Path) -> Result<(), ImageError> {
    let failed = |error| ImageError::io("clean", tmp, error);
    for entry in fs::read_dir(tmp).map_err(failed)? {
        let lock_path = entry.map_err(failed)?.path();
        if lock_path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Some(_lock) = Lock::attempt_now(&lock_path, Hold::Exclusive).map_err(failed)? else {
            continue;
        };
        let folder = lock_path.with_extension("");
        clear(&folder)
            .and_then(|()| absent_is_fine(fs::remove_file(&lock_path)))
            .map_err(failed)?;
    }
    Ok(())
}

fn clear(folder: &Path) -> io::Result<()> {
    absent_is_fine(remove_tree(folder))
}

/// Turns "was not there" into success.
pub(crate) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litter_goes_and_living_work_stays() {
        let tmp = tempfile::tempdir().unwrap();
        let living = Work::begin(tmp.path()).unwrap();
        fs::write(living.path("file"), "x").unwrap();
        fs::create_dir_all(tmp.path().join("1-1/deep/down")).unwrap();
        fs::write(tmp.path().join("1-1.lock"), "").unwrap();

        clean_litter(tmp.path()).unwrap();
        assert!(living.path("file").exists());
        assert!(!tmp.path().join("1-1").exists() && !tmp.path().join("1-1.lock").exists());

        drop(living);
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }
}
