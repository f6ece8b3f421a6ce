//! Why the pool refused.

use std::io;
use std::path::{Path, PathBuf};

use boxherd_model::{BoxId, SnapshotId};
use rustix::io::Errno;

/// Why a layer could not be had: a variant per thing a caller can do something about.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No space is left, on the filesystem or in the box's quota. Nothing half made is left.
    #[error("cannot {action}: no space is left for `{path}`")]
    Full {
        /// What was tried.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
    },
    /// The box has no layer.
    #[error("box {id} has no writable layer")]
    NoLayer {
        /// The box.
        id: BoxId,
    },
    /// The box has no such snapshot.
    #[error("box {id} has no snapshot {snapshot}")]
    NoSnapshot {
        /// The box.
        id: BoxId,
        /// What was asked for.
        snapshot: SnapshotId,
    },
    /// Something of that id is there already.
    #[error("`{path}` exists already")]
    Exists {
        /// What was to be made.
        path: PathBuf,
    },
    /// This pool has no quotas.
    #[error("disk limits do not work here: {reason}")]
    CannotLimit {
        /// What is missing.
        reason: String,
    },
    /// There is a prepared pool already.
    #[error("`{path}` is there already")]
    PoolExists {
        /// The image of the pool.
        path: PathBuf,
    },
    /// There are layers that a pool would hide.
    #[error("a pool would hide the disks of boxes in `{path}`")]
    LayersOutside {
        /// Where they are.
        path: PathBuf,
    },
    /// There was a pool.
    #[error("the pool `{path}` is gone, and with it the disks of boxes")]
    PoolGone {
        /// The image of the pool.
        path: PathBuf,
    },
    /// The image of the pool is no filesystem, or not all of one.
    #[error("the pool `{path}` is damaged or was cut short, and cannot be mounted")]
    PoolDamaged {
        /// The image of the pool.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program that is needed is not installed.
    #[error("`{program}` is not installed")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program failed.
    #[error("`{program}` failed: {output}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it printed on standard error.
        output: String,
    },
    /// A file that no box can have made.
    #[error("`{path}` cannot be copied: it is a device")]
    Device {
        /// Where it is.
        path: PathBuf,
    },
    /// The system refused a call.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl StorageError {
    /// What the system said, as a number.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            Self::Full { .. } => Some(Errno::NOSPC.raw_os_error()),
            Self::Exists { .. } => Some(Errno::EXIST.raw_os_error()),
            _ => None,
        }
    }

    /// What the user can do about it, if anything.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Full { .. } => {
                "free space on the filesystem of the data folder, or choose another one with `--data`"
                    .into()
            },
            Self::CannotLimit { .. } => {
                "`boxherd doctor --fix` prepares a place where they do, or leave out `--disk`"
                    .into()
            }
            Self::LayersOutside { .. } => {
                "`boxherd rm` the boxes first, or choose another folder with `--data`".into()
            }
            Self::PoolGone { path } => format!(
                "put it back, or remove the folder `{}` to go on without those disks",
                path.with_file_name("pool").display()
            ),
            Self::PoolDamaged { path, .. } => format!(
                "`dmesg` tells more and `btrfs check {}` looks at it; nothing was changed",
                path.display()
            ),
            Self::NoProgram { package, .. } => format!("install the package `{package}`"),
            _ => return None,
        })
    }
}

/// Turns the system's refusal to `action` on `path` into the variant that says most.
pub(crate) fn refused(
    action: &'static str,
    path: &Path,
) -> impl Fn(io::Error) -> StorageError + use<> {
    let path = path.to_owned();
    move |source| {
        let path = path.clone();
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => StorageError::Full { action, path },
            Some(Errno::EXIST) => StorageError::Exists { path },
            _ => StorageError::Io { action, path, source },
        }
    }
}
