//! The files of an ordinary user's boxes, in the hands of the helper: they may belong to ids that
//! only the helper is root over.

use std::io;
use std::path::Path;

use super::wire::Work;
use super::{Helper, HelperError};
use crate::storage::{Hands, StorageError, refused};

impl Hands for Helper {
    fn copy(&self, source: &Path, target: &Path) -> Result<(), StorageError> {
        let work = Work::Copy { source: source.to_owned(), target: target.to_owned() };
        self.work(work).map_err(|error| refused("copy", source)(system(error)))
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        let work = Work::Remove { path: path.to_owned() };
        self.work(work).map_err(|error| refused("remove", path)(system(error)))
    }
}

fn system(error: HelperError) -> io::Error {
    match error {
        HelperError::Failed(failure) => match failure.errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(failure.message),
        },
        HelperError::Gone(error) => error,
    }
}
