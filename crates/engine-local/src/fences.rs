//! Who may change a box, where several servers work under leases and each could think that it is the one.
//!
//! A file for each box that was ever claimed holds the greatest token that came with a claim. Whoever
//! changes a box that it claimed holds the file's lock meanwhile and looks whether the token is still
//! its own: a process that stood still between two steps is turned away, and one that stands still
//! within a step keeps the others out.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use boxherd_engine::EngineError;
use boxherd_model::BoxId;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use crate::error::at;

/// How long a step of another process is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether it has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// The claims of this process.
#[derive(Debug)]
pub(crate) struct Fences {
    folder: PathBuf,
    claims: Mutex<HashMap<BoxId, u64>>,
}

/// The lock of a box's file, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    _file: File,
}

impl Fences {
    /// `folder` is made with the first claim.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, claims: Mutex::default() }
    }

    /// Notes that this process has `token`, unless another has a greater one.
    pub(crate) fn claim(&self, id: BoxId, token: u64) -> Result<(), EngineError> {
        let failed = || at("note who may change the box");
        fs::create_dir_all(&self.folder).map_err(failed())?;
        let mut file = self.lock(id, true)?.ok_or(EngineError::Fenced(id))?;
        if noted(&mut file).map_err(failed())? > token {
            return Err(EngineError::Fenced(id));
        }
        file.rewind().and_then(|()| write!(file, "{token:020}")).map_err(failed())?;
        self.claims.lock().insert(id, token);
        Ok(())
    }

    /// Lets a step on a box begin. `None` where this process claims nothing, and nobody is kept out.
    pub(crate) fn enter(&self, id: BoxId) -> Result<Option<Pass>, EngineError> {
        let Some(token) = self.claims.lock().get(&id).copied() else { return Ok(None) };
        let mut file = self.lock(id, false)?.ok_or(EngineError::Fenced(id))?;
        match noted(&mut file).map_err(at("look who may change the box"))? == token {
            true => Ok(Some(Pass { _file: file })),
            false => Err(EngineError::Fenced(id)),
        }
    }

    /// The box is gone: to be called with its pass. A claim of another process finds no file, and is
    /// turned away too.
    pub(crate) fn forget(&self, id: BoxId) -> io::Result<()> {
        match self.claims.lock().remove(&id) {
            Some(_) => match fs::remove_file(self.file(id)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
            None => Ok(()),
        }
    }

    fn file(&self, id: BoxId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// The file of a box, locked; `None` where there is none and none is to be made.
    fn lock(&self, id: BoxId, make: bool) -> Result<Option<File>, EngineError> {
        let (path, until) = (self.file(id), Instant::now() + PATIENCE);
        let failed = || at("lock the box against other processes");
        loop {
            let opened = File::options().read(true).write(true).create(make).open(&path);
            let file = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !make => return Ok(None),
                opened => opened.map_err(failed())?,
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // It may have been removed, with its box, before it was locked.
                Ok(()) if is_at(&file, &path).map_err(failed())? => return Ok(Some(file)),
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                    // There is no `flock` with a time limit.
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(failed()(error.into())),
            }
        }
    }
}

/// The token in the file of a box; 0 in one that was just made.
fn noted(file: &mut File) -> io::Result<u64> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    match text.as_str() {
        "" => Ok(0),
        text => text.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn is_at(file: &File, path: &std::path::Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(named) => Ok(named.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (tempfile::TempDir, Fences, Fences) {
        let folder = tempfile::tempdir().unwrap();
        let open = || Fences::new(folder.path().join("fences"));
        let (one, other) = (open(), open());
        (folder, one, other)
    }

    fn is_fenced<T: std::fmt::Debug>(result: Result<T, EngineError>) -> bool {
        matches!(result, Err(EngineError::Fenced(_)))
    }

    #[test]
    fn whoever_claims_nothing_is_let_in() {
        let (folder, one, _) = two();
        assert!(one.enter(BoxId::new()).unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_later_claim_shuts_the_earlier_one_out() {
        let (_folder, one, other) = two();
        let id = BoxId::new();
        one.claim(id, 1).unwrap();
        assert!(one.enter(id).unwrap().is_some());
        other.claim(id, 2).unwrap();
        assert!(is_fenced(one.enter(id)));
        assert!(is_fenced(one.claim(id, 1)));
        assert!(other.enter(id).unwrap().is_some());
        one.claim(id, 3).unwrap();
        assert!(is_fenced(other.enter(id)));
    }

    #[test]
    fn a_box_that_is_gone_is_changed_by_nobody() {
        let (folder, one, other) = two();
        let id = BoxId::new();
        one.claim(id, 1).unwrap();
        other.claim(id, 2).unwrap();
        let pass = other.enter(id).unwrap();
        other.forget(id).unwrap();
        drop(pass);
        assert!(is_fenced(one.enter(id)));
        assert!(other.enter(id).unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path().join("fences")).unwrap().count(), 0);
    }

    #[test]
    fn a_step_keeps_later_claims_waiting() {
        let (_folder, one, other) = two();
        let id = BoxId::new();
        one.claim(id, 1).unwrap();
        let pass = one.enter(id).unwrap();
        thread::scope(|scope| {
            let claimed = scope.spawn(|| other.claim(id, 2));
            assert!(!claimed.is_finished());
            drop(pass);
            claimed.join().unwrap().unwrap();
        });
        assert!(is_fenced(one.enter(id)));
    }
}
