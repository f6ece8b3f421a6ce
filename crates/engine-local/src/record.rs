//! What is written down about a box: what `start` needs, and hints about what runs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use boxherd_model::BoxSpec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::uids::UidBase;

/// `box.json`: everything that `start` needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BoxRecord {
    /// What was asked for, with the current name.
    pub(crate) spec: BoxSpec,
    /// The first of the box's host ids; `None` where it has the caller's only.
    pub(crate) uids: Option<UidBase>,
    /// The digest of its image; `None` for `host`.
    pub(crate) image: Option<String>,
}

/// `runtime.json`: the box's first process. A hint that is verified before it is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Runtime {
    /// As the host sees it.
    pub(crate) pid: i32,
    /// When it was started, in clock ticks since the boot; a pid alone can be reused.
    pub(crate) start_time: u64,
    /// Which boot.
    pub(crate) boot_id: String,
}

/// `ended.json`: the box was stopped by us.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {}

/// Reads a record; `None` when it is not there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
            let message = format!("`{}` is damaged: {error}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        }),
    }
}

/// Writes a record; a reader finds the old one, or the new one, whole.
pub(crate) fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let draft = path.with_extension("new");
    let text = serde_json::to_vec(record)?;
    File::create(&draft)?.write_all(&text)?;
    fs::rename(draft, path)
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
