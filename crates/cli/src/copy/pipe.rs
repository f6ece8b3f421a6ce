//! Bytes between the thread that packs or unpacks and the one that speaks to the box.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::PIECE;

/// A pair of ends; a writer that is ahead waits.
pub(super) fn pipe() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(4)
}

/// Hands over what is written in large pieces.
#[derive(Debug)]
pub(super) struct Writer {
    to: mpsc::Sender<Bytes>,
    piece: BytesMut,
}

impl Writer {
    pub(super) fn new(to: mpsc::Sender<Bytes>) -> Self {
        Self { to, piece: BytesMut::with_capacity(PIECE) }
    }
}

impl Write for Writer {
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
        self.to.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Reads what comes; an `Err` in it is an end that came too early.
#[derive(Debug)]
pub(super) struct Reader {
    from: mpsc::Receiver<Result<Bytes, ()>>,
    piece: Bytes,
}

impl Reader {
    pub(super) fn new(from: mpsc::Receiver<Result<Bytes, ()>>) -> Self {
        Self { from, piece: Bytes::new() }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(())) => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
