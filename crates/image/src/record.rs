//! The two kinds of records: what a name stands for, and what an image is made of.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use boxherd_model::{ImageRef, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::{ImageConfig, ImageError};

/// `images/NAME.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub(crate) name: ImageRef,
    pub(crate) digest: Digest,
    pub(crate) created: Timestamp,
}

/// `manifests/sha256-HEX.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestRecord {
    pub(crate) digest: Digest,
    /// Topmost first, no duplicates.
    pub(crate) layers: Vec<Digest>,
    pub(crate) config: ImageConfig,
    /// Bytes of the layers as they lie on disk.
    pub(crate) size: u64,
}

/// `layers/sha256-HEX/layer.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Bytes of its files.
    pub(crate) size: u64,
    /// What was left out or could not be kept, one sentence each.
    pub(crate) notes: Vec<String>,
    /// Whether it hides every layer below.
    pub(crate) opaque_root: bool,
}

/// Reads a record; `None` when there is none.
pub(crate) fn read<R: DeserializeOwned>(path: &Path) -> Result<Option<R>, ImageError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImageError::io("read", path, error)),
    };
    let record = serde_json::from_slice(&bytes);
    record.map(Some).map_err(|source| ImageError::BadRecord { path: path.to_owned(), source })
}

/// Writes a record so that it is either the old or the new one after any crash. `scratch` is a
/// file on the same filesystem that nobody else writes.
pub(crate) fn write(
    path: &Path,
    scratch: &Path,
    record: &impl Serialize,
) -> Result<(), ImageError> {
    let bytes = serde_json::to_vec(record)
        .map_err(|source| ImageError::BadRecord { path: path.to_owned(), source })?;
    let written = File::create(scratch).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(scratch, path)?;
        sync_parent(path)
    });
    written.map_err(|error| ImageError::io("write", path, error))
}

/// Puts a rename or a removal in the folder of `path` on disk.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(parent)?.sync_all()
}
