//! The input of a command.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::conn::Stream;
use crate::mux::WINDOW;
use crate::{LinkError, channel};

/// Writes to the input of a command. `shutdown` ends the input, which is not a kill. Writing waits
/// while the command does not read; after it has ended, writing fails with `BrokenPipe`.
pub struct ExecStdin {
    stream: Weak<Stream>,
    sent: Unacknowledged,
    ended: bool,
}

/// The last input that was sent, which the agent may not have: what to send again after a lost
/// link. Never more than a few hundred KiB.
#[derive(Debug, Clone, Default)]
pub struct Unacknowledged {
    end: u64,
    length: usize,
    chunks: VecDeque<Bytes>,
}

impl ExecStdin {
    pub(super) fn new(stream: &Arc<Stream>, offset: u64) -> Self {
        let sent = Unacknowledged { end: offset, ..Unacknowledged::default() };
        Self { stream: Arc::downgrade(stream), sent, ended: false }
    }

    /// Sends all of `bytes` without copying them.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let stream = self.stream()?;
            let room = stream.room().await?;
            let part = bytes.split_to(room.min(bytes.len()));
            self.send_now(&stream, part);
        }
        Ok(())
    }

    /// What to send again after a lost link, see [`Unacknowledged::after`].
    #[must_use]
    pub fn into_unacknowledged(self) -> Unacknowledged {
        self.sent
    }

    fn stream(&self) -> Result<Arc<Stream>, LinkError> {
        self.stream.upgrade().ok_or(LinkError::Closed)
    }

    fn send_now(&mut self, stream: &Stream, part: Bytes) {
        self.sent.push(part.clone());
        stream.send_now(channel::MAIN, part, false);
    }
}

impl AsyncWrite for ExecStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream()?;
        let room = ready!(stream.poll_room(cx))?.min(bytes.len());
        self.send_now(&stream, Bytes::copy_from_slice(&bytes[..room]));
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            self.ended = true;
            if let Some(stream) = self.stream.upgrade() {
                stream.finish(channel::MAIN);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for ExecStdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecStdin").field("offset", &self.sent.end).finish_non_exhaustive()
    }
}

impl Unacknowledged {
    fn push(&mut self, bytes: Bytes) {
        self.end += bytes.len() as u64;
        self.length += bytes.len();
        self.chunks.push_back(bytes);
        // Credit keeps what is under way below a window, so older bytes have arrived.
        while let Some(front) = self.chunks.front() {
            if self.length - front.len() < WINDOW as usize {
                break;
            }
            self.length -= front.len();
            self.chunks.pop_front();
        }
    }

    /// The bytes from `offset` on, where `offset` is [`Exec::stdin_offset`] of the reattached
    /// command. `None` when they are not all here, which an honest agent does not cause.
    ///
    /// [`Exec::stdin_offset`]: crate::Exec::stdin_offset
    #[must_use]
    pub fn after(&self, offset: u64) -> Option<Bytes> {
        let missing = usize::try_from(self.end.checked_sub(offset)?).ok()?;
        let mut skip = self.length.checked_sub(missing)?;
        let mut rest = BytesMut::with_capacity(missing);
        for chunk in &self.chunks {
            let from = skip.min(chunk.len());
            skip -= from;
            rest.extend_from_slice(&chunk[from..]);
        }
        Some(rest.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_has_is_not_sent_again() {
        let mut sent = Unacknowledged::default();
        sent.push(Bytes::from_static(b"one "));
        sent.push(Bytes::from_static(b"two"));
        assert_eq!(sent.after(0).unwrap(), "one two");
        assert_eq!(sent.after(5).unwrap(), "wo");
        assert_eq!(sent.after(7).unwrap(), "");
        assert_eq!(sent.after(8), None);
    }

    #[test]
    fn a_window_is_kept_and_not_much_more() {
        let mut sent = Unacknowledged::default();
        for _ in 0..100 {
            sent.push(Bytes::from(vec![0; 10_000]));
        }
        let window = u64::from(WINDOW);
        assert_eq!(sent.after(1_000_000 - window).unwrap().len() as u64, window);
        assert_eq!(sent.after(1_000_000 - window - 20_000), None);
    }
}
