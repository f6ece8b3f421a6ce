//! Copies a tree of files faithfully and in parallel.
//!
//! Kept: owners, modes, times, hard links within the tree, symlinks, fifos, whiteouts, holes, and
//! the extended attributes of files and folders that mean something to a box (`user.`, `trusted.`,
//! POSIX ACLs, file capabilities; what is neither can have none that a box may set). Sockets are left out: nobody listens on a copy. Devices are refused: a box cannot
//! have made one. Every step is relative to an open folder and follows no symlink.
//!
//! Whoever copies sees to it that nothing changes meanwhile. What changes nevertheless is copied as
//! it was found, or is an error; it never leads out of the tree, and the copy ends.

mod entry;
mod walk;
mod work;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::error::{StorageError, refused};

/// Copies what is in the folder `source` into `target`, an empty folder, which becomes like
/// `source` in owner, mode, times and attributes as well. What was copied when it fails is left for
/// the caller to remove.
pub(crate) fn copy_tree(source: &Path, target: &Path) -> Result<(), StorageError> {
    let open = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed())
            .open(path)
            .map_err(refused("open", path))
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    work::run(open(source)?.into(), open(target)?.into(), source, threads)
}

/// More threads than this wait for the filesystem's locks rather than for work.
const MAX_THREADS: usize = 8;

/// Permissions and set-id bits of a raw mode.
fn permissions(raw: u32) -> Mode {
    Mode::from_raw_mode(raw & 0o7777)
}

#[cfg(test)]
mod tests;
