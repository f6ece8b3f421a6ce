//! Locks between processes: `flock`, which the kernel drops when its holder dies.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How often a lock that somebody else holds is tried again. `flock` can only be awaited by
/// blocking a thread, and one that waits for a download would hold it for minutes.
const RETRY: Duration = Duration::from_millis(20);

/// Keeps the layers of the store from being freed while it lives.
#[derive(Debug, Clone)]
pub struct Lease(#[expect(dead_code, reason = "held for its lock")] Arc<Lock>);

impl Lease {
    pub(crate) fn new(lock: Lock) -> Self {
        Self(Arc::new(lock))
    }
}

/// A file that is locked while the value lives.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// How much of a lock is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Together with others who share.
    Shared,
    /// Alone.
    Exclusive,
}

impl Lock {
    /// Locks `path`, made when missing, and waits for it.
    pub(crate) fn wait(path: &Path, hold: Hold) -> io::Result<Self> {
        loop {
            if let Some(lock) = Self::attempt(path, hold.waiting())? {
                return Ok(lock);
            }
        }
    }

    /// Locks `path`, made when missing; `None` when somebody else holds it.
    pub(crate) fn attempt_now(path: &Path, hold: Hold) -> io::Result<Option<Self>> {
        match Self::attempt(path, hold.at_once()) {
            Err(error) if error.raw_os_error() == Some(Errno::WOULDBLOCK.raw_os_error()) => {
                Ok(None)
            }
            result => result,
        }
    }

    /// Locks `path`, made when missing, and waits for it without blocking a thread.
    pub(crate) async fn acquire(path: &Path, hold: Hold) -> io::Result<Self> {
        loop {
            match Self::attempt_now(path, hold)? {
                Some(lock) => return Ok(lock),
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Lets others share what was held alone.
    pub(crate) fn share(self) -> io::Result<Self> {
        flock(&self.0, FlockOperation::LockShared)?;
        Ok(self)
    }

    /// The locked file itself.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// `None` when the file was removed by its last holder while this one waited for it: the lock
    /// is then on a file that nobody else will ever find.
    fn attempt(path: &Path, operation: FlockOperation) -> io::Result<Option<Self>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        flock(&file, operation)?;
        Ok((file.metadata()?.nlink() > 0).then_some(Self(file)))
    }
}

impl Hold {
    const fn waiting(self) -> FlockOperation {
        match self {
            Self::Shared => FlockOperation::LockShared,
            Self::Exclusive => FlockOperation::LockExclusive,
        }
    }

    const fn at_once(self) -> FlockOperation {
        match self {
            Self::Shared => FlockOperation::NonBlockingLockShared,
            Self::Exclusive => FlockOperation::NonBlockingLockExclusive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_alone_or_many_that_share() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let alone = Lock::attempt_now(&path, Hold::Exclusive).unwrap().unwrap();
        assert!(Lock::attempt_now(&path, Hold::Shared).unwrap().is_none());
        let shared = alone.share().unwrap();
        let second = Lock::attempt_now(&path, Hold::Shared).unwrap();
        assert!(second.is_some());
        assert!(Lock::attempt_now(&path, Hold::Exclusive).unwrap().is_none());
        drop((shared, second));
        assert!(Lock::attempt_now(&path, Hold::Exclusive).unwrap().is_some());
    }
}
