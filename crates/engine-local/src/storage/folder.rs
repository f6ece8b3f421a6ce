//! Layers that are plain folders.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use boxherd_model::OperationId;
use rustix::fs::{FlockOperation, flock};

use super::error::{StorageError, refused};
use super::hands::Hands;
use super::trash::Trash;

pub(super) fn make(path: &Path) -> Result<(), StorageError> {
    DirBuilder::new().mode(0o700).create(path).map_err(refused("make", path))
}

/// A name that nobody has.
pub(super) fn unique(folder: &Path) -> PathBuf {
    folder.join(OperationId::new().to_string())
}

/// Copies `source` to `target`, which appears whole or not at all.
pub(super) fn copy(
    hands: &dyn Hands,
    source: &Path,
    target: &Path,
    making: &Path,
) -> Result<(), StorageError> {
    let _copying = Copying::begin(making)?;
    let unfinished = unique(making);
    make(&unfinished)?;
    hands
        .copy(source, &unfinished)
        .and_then(|()| fs::rename(&unfinished, target).map_err(refused("finish", target)))
        .inspect_err(|_| {
            if let Err(error) = hands.remove(&unfinished) {
                tracing::warn!(%error, "a half-made copy is left until the next sweep");
            }
        })
}

/// Keeps a sweep of any process from taking what is being made here.
struct Copying(#[expect(dead_code, reason = "held for its lock")] File);

impl Copying {
    fn begin(making: &Path) -> Result<Self, StorageError> {
        let folder = File::open(making).map_err(refused("open", making))?;
        flock(&folder, FlockOperation::LockShared)
            .map_err(|e| refused("lock", making)(e.into()))?;
        Ok(Self(folder))
    }
}

/// Throws away what copies that died have left, unless one is running: then the next sweep does.
pub(super) fn discard_unfinished(making: &Path, trash: &Trash) -> Result<(), StorageError> {
    let folder = File::open(making).map_err(refused("open", making))?;
    if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    for entry in fs::read_dir(making).map_err(refused("list", making))? {
        trash.take(&entry.map_err(refused("list", making))?.path())?;
    }
    Ok(())
}
