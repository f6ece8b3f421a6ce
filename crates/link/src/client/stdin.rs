//! The input of a command.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::line::{Line, lock};
use crate::LinkError;
use crate::mux::WINDOW;

/// Writes to the input of a command. `shutdown` ends the input, which is not a kill. Writing waits
/// while the command does not read, and while a lost link is [made anew](super::Exec::healed_by);
/// after the command has ended, writing fails with `BrokenPipe`.
pub struct ExecStdin {
    line: Arc<Line>,
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
    pub(super) fn new(line: &Arc<Line>) -> Self {
        Self { line: Arc::clone(line) }
    }

    /// Sends all of `bytes` without copying them.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let put = poll_fn(|cx| self.line.poll_put(cx, bytes.len(), |room| bytes.slice(..room)));
            let taken = put.await?;
            bytes.advance(taken);
        }
        Ok(())
    }

    /// What to send again after a lost link, see [`Unacknowledged::after`].
    #[must_use]
    pub fn into_unacknowledged(self) -> Unacknowledged {
        lock(&self.line.state).sent.clone()
    }
}

impl AsyncWrite for ExecStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let copy = |room: usize| Bytes::copy_from_slice(&bytes[..room]);
        self.line.poll_put(cx, bytes.len(), copy).map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.finish();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for ExecStdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = lock(&self.line.state).sent.end;
        f.debug_struct("ExecStdin").field("offset", &offset).finish_non_exhaustive()
    }
}

impl Unacknowledged {
    /// Nothing yet, where input goes on at `offset`.
    pub(super) fn at(offset: u64) -> Self {
        Self { end: offset, ..Self::default() }
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
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
