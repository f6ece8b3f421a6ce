//! Whole trees, as tar archives.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use boxherd_link::conn::Stream;
use boxherd_link::{channel, proto, window};
use bytes::{Bytes, BytesMut};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tar::{Archive, Builder, EntryType, Header, HeaderMode};
use tokio::sync::mpsc;

use super::ops::make_parents;
use super::write::{Chunk, on_thread};
use crate::{Inner, done};

/// How much of an archive is handed over at once, in bytes.
const PIECE: usize = 256 * 1024;

/// Sends a tree as data, then how it went.
pub(crate) async fn tar_out(inner: Arc<Inner>, stream: Stream, request: proto::TarOut) {
    let path = inner.place(&request.path);
    let (sender, mut pieces) = mpsc::channel(2);
    let prefix = PathBuf::from(OsString::from_vec(request.prefix));
    let packed = tokio::spawn(on_thread(move || pack(&path, &prefix, Outlet::new(sender))));
    while let Some(piece) = pieces.recv().await {
        if stream.send(channel::MAIN, piece).await.is_err() {
            return;
        }
    }
    stream.end(done(packed.await.unwrap_or_else(|error| Err(io::Error::other(error)))));
}

/// Unpacks what comes as data, then says how it went.
pub(crate) async fn tar_in(inner: Arc<Inner>, stream: Stream, request: proto::TarIn) {
    let path = inner.place(&request.path);
    stream.grant(window::NEAR);
    let (sender, pieces) = mpsc::channel(2);
    let unpacked = tokio::spawn(on_thread(move || unpack(&path, Inlet::new(pieces), &request)));
    let fed = feed(&stream, sender);
    if fed.await {
        stream.end(done(unpacked.await.unwrap_or_else(|error| Err(io::Error::other(error)))));
    }
}

/// Whether the archive came whole, or nobody reads it any more.
async fn feed(stream: &Stream, sender: mpsc::Sender<io::Result<Bytes>>) -> bool {
    loop {
        let Some(Chunk { bytes, cost, fin }) = Chunk::receive(stream).await else {
            // The archive must not look as if it had ended well; the unpacker may be gone already.
            drop(sender.send(Err(io::ErrorKind::UnexpectedEof.into())).await);
            return false;
        };
        if sender.send(Ok(bytes)).await.is_err() || fin {
            return true;
        }
        stream.release(cost);
    }
}

/// Hands an archive over in large pieces.
struct Outlet {
    sender: mpsc::Sender<Bytes>,
    piece: BytesMut,
}

impl Outlet {
    fn new(sender: mpsc::Sender<Bytes>) -> Self {
        Self { sender, piece: BytesMut::with_capacity(PIECE) }
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Takes an archive as it comes.
struct Inlet {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Inlet {
    fn new(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { pieces, piece: Bytes::new() }
    }
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

/// Writes the tree at `path`. Sockets are left out: they mean nothing elsewhere.
fn pack(path: &Path, prefix: &Path, outlet: Outlet) -> io::Result<()> {
    let mut packer = Packer { builder: Builder::new(outlet), links: HashMap::new() };
    packer.builder.follow_symlinks(false);
    packer.builder.mode(HeaderMode::Complete);
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() && prefix.as_os_str().is_empty() {
        packer.directory(path, prefix)?;
    } else if metadata.is_dir() {
        packer.entry(path, prefix, &metadata)?;
    } else {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        packer.entry(path, Path::new(name), &metadata)?;
    }
    packer.builder.into_inner()?.flush()
}

struct Packer {
    builder: Builder<Outlet>,
    /// Files with several names, and the name each has in the archive.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Packer {
    fn directory(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), name.join(entry.file_name()));
            match entry.metadata() {
                Ok(metadata) => self.entry(&path, &name, &metadata)?,
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &Path, metadata: &fs::Metadata) -> io::Result<()> {
        if metadata.file_type().is_socket() {
            return Ok(());
        }
        if metadata.is_file() && metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&key) {
                let mut header = Header::new_gnu();
                header.set_metadata(metadata);
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                return self.builder.append_link(&mut header, name, first);
            }
            self.links.insert(key, name.to_owned());
        }
        if let Some(kind) = special(metadata.file_type()) {
            return self.special(name, metadata, kind);
        }
        if metadata.is_dir() {
            // With a slash at its end, as every other tar writes it.
            self.builder.append_path_with_name(path, name.join(""))?;
            return self.directory(path, name);
        }
        self.builder.append_path_with_name(path, name)
    }

    /// The builder would give such a file the path it has here for a name.
    fn special(&mut self, name: &Path, metadata: &fs::Metadata, kind: EntryType) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_metadata(metadata);
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_device_major(rustix::fs::major(metadata.rdev()))?;
        header.set_device_minor(rustix::fs::minor(metadata.rdev()))?;
        self.builder.append_data(&mut header, name, io::empty())
    }
}

/// The kind of what is neither file, directory nor link.
fn special(kind: fs::FileType) -> Option<EntryType> {
    let kinds = [
        (kind.is_fifo(), EntryType::Fifo),
        (kind.is_char_device(), EntryType::Char),
        (kind.is_block_device(), EntryType::Block),
    ];
    kinds.into_iter().find_map(|(is, entry)| is.then_some(entry))
}

/// Unpacks into `path`. Names that lead out of it are refused, also by way of a link.
fn unpack(path: &Path, inlet: Inlet, request: &proto::TarIn) -> io::Result<()> {
    if request.parents {
        make_parents(path)?;
    } else {
        // The unpacker would make it.
        fs::read_dir(path)?;
    }
    let mut archive = Archive::new(inlet);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(request.owner.is_none());
    archive.set_overwrite(true);
    // Directories last, and the deepest first: one may be made read-only, and all get the times
    // that unpacking into them changes.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_dir() {
            directories.push(entry);
            continue;
        }
        let (kind, place) = (entry.header().entry_type(), inside(path, &entry.path()?));
        if matches!(kind, EntryType::Char | EntryType::Block) {
            // The unpacker would make a file of it.
            return Err(io::Error::from_raw_os_error(PERM));
        }
        if !entry.unpack_in(path).map_err(|error| torn(&place, error))? {
            return Err(io::Error::from_raw_os_error(INVAL));
        }
        if kind == EntryType::Fifo {
            pipe_instead(&place)?;
        }
        give(request, &place)?;
    }
    directories.sort_by(|a, b| b.path_bytes().cmp(&a.path_bytes()));
    for mut directory in directories {
        let place = path.join(directory.path()?);
        if !directory.unpack_in(path)? {
            return Err(io::Error::from_raw_os_error(INVAL));
        }
        give(request, &place)?;
        set_modified(&place, directory.header().mtime()?)?;
    }
    drain(archive.into_inner())
}

/// What kept an entry from being unpacked, in the kernel's number. What there was no room for is removed:
/// half a file would look like a whole one, and the disk is full.
fn torn(place: &Path, error: io::Error) -> io::Error {
    let number = number(&error);
    if matches!(number, Some(NOSPC | DQUOT)) {
        // The first error says more.
        drop(fs::remove_file(place));
    }
    number.map_or(error, io::Error::from_raw_os_error)
}

/// The number of the error that the unpacker has wrapped.
fn number(error: &io::Error) -> Option<i32> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if number.is_some() {
            return number;
        }
        cause = error.source();
    }
    None
}

/// Where the unpacker puts an entry of that name.
fn inside(path: &Path, name: &Path) -> PathBuf {
    let normal = |part: &Component<'_>| matches!(part, Component::Normal(_));
    path.join(name.components().filter(normal).collect::<PathBuf>())
}

/// Replaces the empty file that the unpacker makes of a named pipe.
fn pipe_instead(place: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(place)?;
    let mode = metadata.mode() & 0o7777;
    fs::remove_file(place)?;
    mknodat(CWD, place, FileType::Fifo, Mode::from_raw_mode(mode), 0)?;
    lchown(place, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(place, fs::Permissions::from_mode(mode))
}

const NOSPC: i32 = rustix::io::Errno::NOSPC.raw_os_error();
const DQUOT: i32 = rustix::io::Errno::DQUOT.raw_os_error();
const PERM: i32 = rustix::io::Errno::PERM.raw_os_error();
const INVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

/// An archive may be padded beyond its end; the client is to see all of it taken.
fn drain(mut inlet: Inlet) -> io::Result<()> {
    io::copy(&mut inlet, &mut io::sink()).map(drop)
}

/// Unpacking sets the times of files only.
fn set_modified(path: &Path, seconds: u64) -> io::Result<()> {
    let modified = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
    fs::File::open(path)?.set_modified(modified)
}

fn give(request: &proto::TarIn, path: &Path) -> io::Result<()> {
    match request.owner {
        Some(owner) => lchown(path, Some(owner.uid), Some(owner.gid)),
        None => Ok(()),
    }
}
