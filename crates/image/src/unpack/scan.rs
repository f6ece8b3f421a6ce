//! Looking into a tar stream without unpacking it.

use std::io::Read;

use tar::EntryType;

use super::error::UnpackError;
use super::reader::TarReader;

/// A file in a tar stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its path, without a leading `./`.
    pub(crate) path: Vec<u8>,
    /// Where its bytes begin in the stream.
    pub(crate) offset: u64,
    /// How many they are.
    pub(crate) size: u64,
}

/// The path of the first entry that is not the root folder.
pub(crate) fn first_path(stream: impl Read) -> Result<Option<Vec<u8>>, UnpackError> {
    let mut reader = TarReader::new(stream);
    while let Some(member) = reader.next()? {
        let path = clean(&member.path);
        if !path.is_empty() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Every plain file of an uncompressed stream, at most `limit`.
pub(crate) fn files(stream: impl Read, limit: usize) -> Result<Vec<Found>, UnpackError> {
    let mut reader = TarReader::new(stream);
    let mut found = Vec::new();
    while let Some(member) = reader.next()? {
        if member.kind == EntryType::Regular && member.sparse.is_none() {
            let (offset, size) = (reader.offset(), member.size);
            found.push(Found { path: clean(&member.path), offset, size });
        }
        if found.len() > limit {
            return Err(UnpackError::TooMuch { what: "files in an archive", limit: limit as u64 });
        }
    }
    Ok(found)
}

fn clean(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b".").filter(|rest| rest.starts_with(b"/")).unwrap_or(path);
    let from = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    path[from..].to_owned()
}
