//! Reading files and directories.

use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boxherd_link::channel;
use boxherd_link::conn::Stream;
use boxherd_link::mux::MAX_MESSAGE;
use boxherd_link::proto::{self, Answer};
use bytes::{Bytes, BytesMut};
use prost::Message;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::sync::mpsc;

use super::ops::stat;
use super::write::tidy;
use crate::{Inner, done, failure, io_failure};

/// Sends a file, or a part of it, as data, then how it went.
pub(crate) async fn read(inner: Arc<Inner>, stream: Stream, request: proto::Read) {
    let path = inner.place(&request.path);
    let opened = tokio::task::spawn_blocking(move || open(&path)).await;
    let file = match opened.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(file) => Arc::new(file),
        Err(error) => return stream.end(io_failure(&error)),
    };
    let end = request.length.map_or(u64::MAX, |length| request.offset.saturating_add(length));
    let mut offset = request.offset;
    while offset < end {
        // Fails when nobody wants the rest.
        let Ok(room) = stream.room().await else { return };
        let most = room.min(usize::try_from(end - offset).unwrap_or(usize::MAX));
        match read_at(&file, offset, most).await {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => {
                offset += bytes.len() as u64;
                stream.send_now(channel::MAIN, bytes, false);
            }
            Err(error) => return stream.end(io_failure(&error)),
        }
    }
    stream.end(Answer::Done(proto::Nothing {}));
    tidy(offset - request.offset);
}

fn open(path: &Path) -> io::Result<File> {
    // Without blocking on a pipe that nobody writes to.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(nonblock).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if kind.is_fifo() || kind.is_socket() {
        return Err(Errno::SPIPE.into());
    }
    Ok(file)
}

/// What is in memory is read here and now; only what must come from a disk is left to a thread.
async fn read_at(file: &Arc<File>, offset: u64, most: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; most];
    match read_some(file, offset, &mut buffer, ReadWriteFlags::NOWAIT) {
        // Not in memory, or a file system that cannot tell.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL) => {}
        result => return finish(buffer, result),
    }
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        let result = read_some(&file, offset, &mut buffer, ReadWriteFlags::empty());
        finish(buffer, result)
    });
    read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn read_some(
    file: &File,
    offset: u64,
    buffer: &mut [u8],
    flags: ReadWriteFlags,
) -> Result<usize, Errno> {
    loop {
        match preadv2(file.as_fd(), &mut [IoSliceMut::new(buffer)], offset, flags) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn finish(mut buffer: Vec<u8>, result: Result<usize, Errno>) -> io::Result<Bytes> {
    buffer.truncate(result?);
    Ok(buffer.into())
}

/// Sends the entries of a directory, then how it went.
pub(crate) async fn list(inner: Arc<Inner>, stream: Stream, request: proto::Path) {
    let path = inner.place(&request.path);
    let (sender, mut pieces) = mpsc::channel(2);
    let listed = tokio::task::spawn_blocking(move || list_into(&path, &sender));
    while let Some(piece) = pieces.recv().await {
        if stream.send(channel::MAIN, piece).await.is_err() {
            return;
        }
    }
    match listed.await {
        Ok(result) => stream.end(done(result)),
        Err(_) => stream.end(failure(proto::Cause::Refused, 0, "the agent failed at this request")),
    }
}

fn list_into(path: &PathBuf, pieces: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let mut piece = BytesMut::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let target = metadata.is_symlink().then(|| fs::read_link(entry.path()).ok()).flatten();
        let entry = proto::Entry {
            name: entry.file_name().as_bytes().to_vec(),
            stat: Some(stat(&metadata)),
            target: target.map(|target| target.into_os_string().into_vec()),
        };
        entry.encode_length_delimited(&mut piece).map_err(io::Error::other)?;
        if piece.len() >= MAX_MESSAGE {
            pieces.blocking_send(piece.split().freeze()).map_err(gone)?;
        }
    }
    pieces.blocking_send(piece.freeze()).map_err(gone)
}
