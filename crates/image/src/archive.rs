//! What lies in a file or folder that is imported: a root filesystem, or an OCI layout.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::ImageError;
use crate::compression::{Compression, decompressed};
use crate::digest::Digest;
use crate::unpack::UnpackError;
use crate::unpack::scan::{self, Found};
use crate::work::Work;

/// Blobs and documents of an archive; more are not an image.
const MOST_FILES: usize = 100_000;

/// What was found at a path.
pub(crate) enum Archive {
    /// A tar stream of a root filesystem, maybe compressed.
    Rootfs(File),
    /// An OCI layout.
    Oci(OciLayout),
}

/// Blobs by digest.
pub(crate) enum OciLayout {
    /// In a folder.
    Folder(PathBuf),
    /// In an uncompressed tar stream: where each file begins, and its size.
    Tar { file: File, files: HashMap<Vec<u8>, (u64, u64)> },
}

/// Part of a file, read from its own place.
struct Part<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

/// Looks at `path`. A compressed OCI archive is decompressed into `work` first.
pub(crate) fn open(path: &Path, work: &Work) -> Result<Archive, ImageError> {
    let failed = |error| ImageError::io("read", path, error);
    if path.is_dir() {
        return if path.join("oci-layout").is_file() {
            Ok(Archive::Oci(OciLayout::Folder(path.to_owned())))
        } else {
            Err(format_error(path, "the folder has no `oci-layout` file"))
        };
    }
    let file = File::open(path).map_err(failed)?;
    let compression = sniff(&file).map_err(failed)?;
    let first = {
        let tar = decompressed(BufReader::new(part(&file, 0))).map_err(failed)?;
        scan::first_path(tar).map_err(|error| unreadable(path, error))?
    };
    let first = first.ok_or_else(|| format_error(path, "it is an empty tar stream"))?;
    if !belongs_to_image_archive(&first) {
        return Ok(Archive::Rootfs(file));
    }
    let file = match compression {
        Compression::None => file,
        _ => decompress(&file, &work.path("archive.tar"))
            .map_err(|error| ImageError::io("decompress", path, error))?,
    };
    let found = scan::files(BufReader::new(part(&file, 0)), MOST_FILES);
    let found = found.map_err(|error| unreadable(path, error))?;
    if found.iter().all(|found| found.path != b"oci-layout") {
        let reason = "it is a docker archive; `skopeo copy docker-archive:FILE oci-archive:FILE` \
                      makes an OCI archive of it";
        return Err(format_error(path, reason));
    }
    let place = |found: Found| (found.path, (found.offset, found.size));
    let files = found.into_iter().map(place).collect();
    Ok(Archive::Oci(OciLayout::Tar { file, files }))
}

impl OciLayout {
    /// `index.json`.
    pub(crate) fn index(&self) -> io::Result<Box<dyn Read + '_>> {
        self.read("index.json")
    }

    /// A blob.
    pub(crate) fn blob(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        self.read(&format!("blobs/{}", digest.as_str().replace(':', "/")))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        match self {
            Self::Folder(folder) => Ok(Box::new(File::open(folder.join(name))?)),
            Self::Tar { file, files } => {
                let (at, size) = files.get(name.as_bytes()).ok_or(io::ErrorKind::NotFound)?;
                Ok(Box::new(Part { file, at: *at, end: at + size }))
            }
        }
    }
}

impl Read for Part<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = left.min(into.len());
        let count = self.file.read_at(&mut into[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn part(file: &File, at: u64) -> Part<'_> {
    Part { file, at, end: u64::MAX }
}

fn sniff(file: &File) -> io::Result<Compression> {
    let mut start = [0; 8];
    let count = file.read_at(&mut start, 0)?;
    Ok(Compression::of(&start[..count]))
}

fn decompress(file: &File, to: &Path) -> io::Result<File> {
    let mut out = File::create_new(to)?;
    io::copy(&mut decompressed(BufReader::new(part(file, 0)))?, &mut out)?;
    fs::File::open(to)
}

/// Names at the top of OCI archives and of what `docker save` writes. A root filesystem begins with
/// none of them.
fn belongs_to_image_archive(path: &[u8]) -> bool {
    let first = path.split(|byte| *byte == b'/').next().unwrap_or(path);
    let stem = first.strip_suffix(b".json").or_else(|| first.strip_suffix(b".tar"));
    let hex = stem.unwrap_or(first);
    let known: [&[u8]; 5] =
        [b"blobs", b"index.json", b"oci-layout", b"manifest.json", b"repositories"];
    known.contains(&first) || (hex.len() == 64 && hex.iter().all(u8::is_ascii_hexdigit))
}

fn unreadable(path: &Path, error: UnpackError) -> ImageError {
    match error {
        UnpackError::Read(error) => ImageError::io("read", path, error),
        other => ImageError::Format {
            path: path.to_owned(),
            reason: format!("it is no tar stream ({other})"),
        },
    }
}

fn format_error(path: &Path, reason: &str) -> ImageError {
    ImageError::Format { path: path.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_tells_what_an_archive_is() {
        let hex = [b'a'; 64];
        for name in [&b"blobs/sha256/x"[..], b"oci-layout", b"index.json", b"manifest.json", &hex] {
            assert!(belongs_to_image_archive(name), "{}", name.escape_ascii());
        }
        for name in [&b"bin"[..], b"etc/passwd", b"blob", b"usr", &hex[..63]] {
            assert!(!belongs_to_image_archive(name), "{}", name.escape_ascii());
        }
    }
}
