//! One output of a command: a pipe, or its terminal.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use boxherd_sys::watch::Watched;
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ioctl_fionread, read};

/// The largest piece read at once, in bytes: what a pipe holds.
const PIECE: usize = 64 * 1024;

/// Where a command's output comes from.
pub(crate) struct Output {
    pub(super) channel: u8,
    fd: Arc<Watched>,
    /// What is still wanted of it, once the command has ended and its time for more is over.
    left: Option<usize>,
}

impl Output {
    pub(super) fn new(channel: u8, fd: Arc<Watched>) -> Self {
        Self { channel, fd, left: None }
    }

    /// The next piece, at most `room` bytes; `None` at the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        let most = room.min(PIECE).min(self.left.unwrap_or(PIECE));
        if self.left == Some(0) {
            return Poll::Ready(Ok(None));
        }
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let mut buffer = Vec::with_capacity(most);
            match read(self.fd.as_fd(), spare_capacity(&mut buffer)) {
                Ok(0) | Err(Errno::IO) => return Poll::Ready(Ok(None)),
                Ok(count) => {
                    self.left = self.left.map(|left| left - count);
                    return Poll::Ready(Ok(Some(owned(buffer))));
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// The next piece, of any length; `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_read(cx, PIECE)).await
    }

    /// Wants only what is there now.
    pub(super) fn finish(&mut self) {
        // A descriptor that cannot say has nothing.
        self.left = Some(ioctl_fionread(self.fd.as_fd()).unwrap_or(0) as usize);
    }

    /// Reads on and throws away, so that a background process that still has this output is not
    /// killed by a closed pipe, nor blocked by a full one.
    pub(super) async fn discard(mut self) {
        self.left = None;
        while let Ok(Some(_)) = self.next().await {}
    }
}

/// Small pieces are copied, so that they do not keep a large buffer.
fn owned(buffer: Vec<u8>) -> Bytes {
    if buffer.len() * 2 < buffer.capacity() {
        return Bytes::copy_from_slice(&buffer);
    }
    buffer.into()
}
