//! What a file is that is to become an image, told by what is in it.
//!
//! Servers take one archive with metadata and root file system, or two. A root file system alone has
//! no metadata: they are made here.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path};
use std::time::UNIX_EPOCH;

use flate2::bufread::MultiGzDecoder;

/// What describes an image, at the top of its archive.
const METADATA: &str = "metadata.yaml";
/// Below it is the root file system of an archive that has both.
const ROOTFS: &str = "rootfs";
/// At the top of archives for other kinds of containers.
const OCI: [&str; 3] = ["oci-layout", "index.json", "manifest.json"];
/// At the top of every root file system, one or the other.
const OF_A_SYSTEM: [&str; 4] = ["bin", "sbin", "usr", "etc"];
/// Bytes by which kinds of files are told apart.
const START: usize = 8;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Archive {
    /// Metadata and root file system.
    Whole,
    /// Metadata alone.
    Metadata,
    /// A root file system alone.
    Rootfs,
    /// The disk of a virtual machine (qcow2).
    Disk,
    /// An OCI or Docker archive.
    Oci,
    /// It cannot be looked into; the server can.
    Unknown,
    /// A tar with nothing in it that any image has.
    Other,
}

/// Looks into a file. Blocks, at worst for as long as reading it takes.
pub(crate) fn look(file: &Path) -> io::Result<Archive> {
    let mut stream = BufReader::with_capacity(256 << 10, File::open(file)?);
    let start = stream.fill_buf()?;
    let archive: Box<dyn Read> = match &start[..start.len().min(START)] {
        [b'Q', b'F', b'I', 0xfb, ..] => return Ok(Archive::Disk),
        // squashfs: images have it as their root file system, and nothing else.
        [b'h', b's', b'q', b's', ..] => return Ok(Archive::Rootfs),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] | [b'B', b'Z', b'h', ..] => {
            return Ok(Archive::Unknown);
        }
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(stream)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(stream)?),
        _ => Box::new(stream),
    };
    let mut archive = tar::Archive::new(archive);
    let tops = archive.entries()?.map(|entry| Ok(top(&entry?.path()?)));
    kind(tops)
}

/// The first part of a path, with whether it is all of it.
fn top(path: &Path) -> Option<(String, bool)> {
    let mut parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    Some((parts.next()?, parts.next().is_none()))
}

/// What an archive with these entries is. No more of them are looked at than it takes.
fn kind(tops: impl Iterator<Item = io::Result<Option<(String, bool)>>>) -> io::Result<Archive> {
    let (mut metadata, mut rootfs) = (false, false);
    for entry in tops {
        let Some((name, is_all)) = entry? else { continue };
        match name.as_str() {
            METADATA if is_all => metadata = true,
            ROOTFS => rootfs = true,
            name if is_all && OCI.contains(&name) => return Ok(Archive::Oci),
            name if OF_A_SYSTEM.contains(&name) && !metadata => return Ok(Archive::Rootfs),
            _ => {}
        }
        if metadata && rootfs {
            return Ok(Archive::Whole);
        }
    }
    Ok(if metadata { Archive::Metadata } else { Archive::Other })
}

/// An archive with metadata for a root file system that has none. The same file gives the same.
pub(crate) fn metadata(name: &str, architecture: &str, rootfs: &Path) -> io::Result<Vec<u8>> {
    let modified = std::fs::metadata(rootfs)?.modified()?;
    let created = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // JSON is YAML.
    let text = serde_json::json!({
        "architecture": architecture,
        "creation_date": created,
        "properties": { "description": name, "name": name, "architecture": architecture },
    });
    let text = format!("{text:#}\n");
    let mut header = tar::Header::new_ustar();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(created);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, METADATA, text.as_bytes())?;
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn tar(entries: &[&str]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for path in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(0);
            let folder = path.ends_with('/');
            header.set_entry_type(if folder {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            });
            archive.append_data(&mut header, path, io::empty()).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn look_at(content: &[u8]) -> io::Result<Archive> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        look(file.path())
    }

    #[test]
    fn an_archive_is_what_lies_at_its_top() {
        for (entries, kind) in [
            (&["metadata.yaml", "rootfs/", "rootfs/etc/"][..], Archive::Whole),
            (&["./rootfs/bin/sh", "./templates/x", "./metadata.yaml"], Archive::Whole),
            (&["metadata.yaml", "templates/hostname.tpl"], Archive::Metadata),
            (&["./", "./bin/sh", "./metadata.yaml"], Archive::Rootfs),
            (&["usr/metadata.yaml"], Archive::Rootfs),
            (&["blobs/sha256/ab", "index.json"], Archive::Oci),
            (&["notes.txt", "metadata.yaml/x"], Archive::Other),
            (&[], Archive::Other),
        ] {
            assert_eq!(look_at(&tar(entries)).unwrap(), kind, "{entries:?}");
        }
    }

    #[test]
    fn compressed_ones_are_looked_into_and_others_are_told_by_their_beginning() {
        let plain = tar(&["metadata.yaml", "rootfs/"]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        assert_eq!(look_at(&gzip.finish().unwrap()).unwrap(), Archive::Whole);
        assert_eq!(look_at(&zstd::encode_all(&plain[..], 1).unwrap()).unwrap(), Archive::Whole);
        assert_eq!(look_at(b"QFI\xfb....").unwrap(), Archive::Disk);
        assert_eq!(look_at(b"hsqs....").unwrap(), Archive::Rootfs);
        assert_eq!(look_at(b"\xfd7zXZ\0..").unwrap(), Archive::Unknown);
        assert!(look_at(b"no archive at all").is_err());
        assert_eq!(look_at(b"").unwrap(), Archive::Other);
    }

    #[test]
    fn metadata_that_are_made_name_the_image_and_are_the_same_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let made = || metadata("web:1", "x86_64", file.path()).unwrap();
        assert_eq!(made(), made());
        let content = made();
        let mut archive = tar::Archive::new(&content[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some("metadata.yaml"));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["architecture"], "x86_64");
        assert_eq!(read["properties"]["description"], "web:1");
        assert!(read["creation_date"].as_u64().unwrap() > 0);
    }
}
