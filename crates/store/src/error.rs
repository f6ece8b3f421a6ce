//! Why the store refuses.

use std::path::PathBuf;

/// Why something could not be remembered or recalled.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A living box has the name.
    #[error("a box named `{name}` exists already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The box has a snapshot of that name.
    #[error("the box has a snapshot named `{name}` already")]
    SnapshotTaken {
        /// The name.
        name: String,
    },
    /// The idempotency key was used.
    #[error("the idempotency key was used before")]
    KeyTaken,
    /// The file was written by a later release.
    #[error("`{}` has version {found}, this program knows up to {known}", .path.display())]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// Another process held the database for too long.
    #[error("the store is locked by another process")]
    Busy(#[source] rusqlite::Error),
    /// No space is left for the store.
    #[error("no space is left for the store on the filesystem of the data folder")]
    Full,
    /// A record that this program cannot have written.
    #[error("the store has a record that makes no sense: {what}")]
    Corrupt {
        /// Which column of what.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database refused.
    #[error("{step} failed")]
    Database {
        /// What was being done.
        step: &'static str,
        /// What the database said.
        #[source]
        source: rusqlite::Error,
    },
}

const IOERR_SHMSIZE: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

impl StoreError {
    /// Sorts what the database says into what a caller can do something about.
    pub(crate) fn of(step: &'static str, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match source.sqlite_error_code() {
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy(source),
            Some(Code::DiskFull) => Self::Full,
            // Memory that processes share is a file too, and nothing else keeps it from growing.
            _ if source.sqlite_error().is_some_and(|e| e.extended_code == IOERR_SHMSIZE) => {
                Self::Full
            }
            _ => Self::Database { step, source },
        }
    }

    /// A stable code for scripts and wires.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NameTaken { .. } => "name-taken",
            Self::SnapshotTaken { .. } => "snapshot-taken",
            Self::KeyTaken => "key-taken",
            Self::TooNew { .. } => "store-too-new",
            Self::Busy(_) => "store-busy",
            Self::Full => "store-full",
            Self::Corrupt { .. } => "store-corrupt",
            Self::Database { .. } => "store",
        }
    }

    /// What to do, when it is known.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NameTaken { .. } | Self::SnapshotTaken { .. } => Some("choose another name"),
            Self::TooNew { .. } => Some("use the newer boxherd, or another `--data` folder"),
            Self::Busy(_) => Some("try again"),
            Self::Full => {
                Some("free space there; `boxherd rm` and `boxherd snapshot rm` work without any")
            }
            _ => None,
        }
    }
}
