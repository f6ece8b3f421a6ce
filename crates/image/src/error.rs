//! Why the image store refused.

use std::io;
use std::path::PathBuf;

use boxherd_model::ImageRef;

/// Why an image could not be had: a variant per thing a caller can do something about.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The store has no image of that name.
    #[error("there is no image `{image}` here")]
    NoSuchImage {
        /// What was asked for.
        image: ImageRef,
    },
    /// The name does not say where the image comes from, or names `host`.
    #[error("`{image}` cannot be {verb}: {reason}")]
    BadName {
        /// What was asked for.
        image: ImageRef,
        /// `pulled`, `imported` or `removed`.
        verb: &'static str,
        /// What is wrong with the name.
        reason: &'static str,
    },
    /// The disk is full.
    #[error("no space is left for `{path}`")]
    NoSpace {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the store cannot be read or written.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A record of the store is not what this program writes.
    #[error("`{path}` is not a record of the image store")]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl ImageError {
    /// What to do, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchImage { image } => Some(format!(
                "`boxherd image ls` lists what is here, `boxherd image pull {image}` fetches"
            )),
            Self::NoSpace { .. } => {
                Some("free some space, or `boxherd image rm` what is not needed".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the disk is full, so that a caller can say so in its own terms.
    #[must_use]
    pub const fn is_full_disk(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }

    /// Wraps a failed system call on a file of the store.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Self::NoSpace { path, source }
        } else {
            Self::Io { action, path, source }
        }
    }
}
