//! Unpacks tar streams that strangers made into a folder that becomes one layer of an overlay.
//!
//! `name.rs` decides from the name alone where an entry goes, `reader.rs` reads members with bounded
//! memory, `tree.rs` is the only door to the folder, `write.rs` makes the files. Nothing here
//! knows images.

mod error;
mod name;
mod notes;
mod pax;
mod reader;
pub(crate) mod scan;
mod sparse;
mod tree;
mod write;

#[cfg(test)]
mod tests;

pub use error::{EntryFault, UnpackError};

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};

/// What one layer may have at most. A stream that has more is refused when it reaches the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of any kind.
    pub entries: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4_000_000, bytes: 64 << 30 }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries of any kind.
    pub entries: u64,
    /// Bytes that its files take on disk, in whole blocks of 4 KiB.
    pub size: u64,
    /// What was left out or could not be kept, one sentence for each kind of thing.
    pub notes: Vec<String>,
    /// Whether it hides everything below: overlayfs does not look for that mark on the root of a
    /// layer, so whoever mounts it leaves out the layers below.
    pub opaque_root: bool,
    /// Whether the stream had the end marker of a tar stream. One that has none may have been cut.
    pub end_marker: bool,
}

/// Unpacks `stream` into the folder `into`, which must be empty and closed to everyone else, and
/// reads the stream to its end.
///
/// As root, files get the owners of the stream; otherwise they are all the user's own. The work
/// ends with [`UnpackError::Cancelled`] soon after `cancel` becomes `true`. After an error the
/// folder holds what was unpacked until then.
pub fn unpack(
    stream: impl Read,
    into: &Path,
    limits: Limits,
    cancel: &AtomicBool,
) -> Result<Unpacked, UnpackError> {
    let root = open_root(into)?;
    let mut reader = reader::TarReader::new(stream);
    let mut writer = write::Writer::new(root, limits, cancel);
    while let Some(member) = reader.next()? {
        writer.write(member, &mut reader)?;
    }
    let mut unpacked = writer.finish(reader.globals)?;
    unpacked.end_marker = reader.end_marker;
    drain(reader.into_stream(), limits.bytes, cancel)?;
    Ok(unpacked)
}

fn open_root(into: &Path) -> Result<OwnedFd, UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(into, flags, Mode::empty())
        .map_err(|errno| UnpackError::write("open", into.as_os_str().as_encoded_bytes(), errno))
}

/// Reads what follows the end marker: the digest of a stream is of all its bytes.
fn drain(mut stream: impl Read, limit: u64, cancel: &AtomicBool) -> Result<(), UnpackError> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0_u64;
    loop {
        check(cancel)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => total += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(UnpackError::Read(error)),
        }
        if total > limit {
            return Err(UnpackError::TooMuch { what: "bytes after the end marker", limit });
        }
    }
}

fn check(cancel: &AtomicBool) -> Result<(), UnpackError> {
    if cancel.load(Ordering::Relaxed) { Err(UnpackError::Cancelled) } else { Ok(()) }
}
