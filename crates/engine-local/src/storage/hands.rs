//! Who copies and removes the files of boxes.

use std::fmt::Debug;
use std::path::Path;

use super::error::StorageError;
use super::{copy, remove};

/// Touches files that may belong to any id of a box.
pub(crate) trait Hands: Debug + Send + Sync {
    /// Makes the empty folder `target` a copy of `source`.
    fn copy(&self, source: &Path, target: &Path) -> Result<(), StorageError>;

    /// Removes a tree. Succeeds when there is none.
    fn remove(&self, path: &Path) -> Result<(), StorageError>;
}

/// This process, which may do all that.
#[derive(Debug)]
pub(crate) struct Own;

impl Hands for Own {
    fn copy(&self, source: &Path, target: &Path) -> Result<(), StorageError> {
        copy::copy_tree(source, target)
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        remove::remove(path)
    }
}
