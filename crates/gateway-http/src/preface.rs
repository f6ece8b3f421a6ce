//! The first words of a client that speaks HTTP/2 (RFC 9113 §3.4). Until they are all there nobody
//! knows which HTTP is spoken, and no other limit of time holds yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream on which a preface that was begun has to end in time.
#[derive(Debug)]
pub(crate) struct Hurried<S> {
    stream: S,
    /// How much of the preface has come; `None` once it is whole, or something else is spoken.
    come: Option<usize>,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Hurried<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, come: Some(0), deadline: Box::pin(tokio::time::sleep(patience)) }
    }

    fn look(&mut self, bytes: &[u8]) {
        let Some(come) = self.come else { return };
        let rest = &PREFACE[come..];
        let is_more_to_come = bytes.len() < rest.len() && rest.starts_with(bytes);
        self.come = is_more_to_come.then(|| come + bytes.len());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hurried<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.look(&buffer.filled()[before..]);
        if read.is_pending() && self.come.is_some() && self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hurried<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// Whether a client that says `words`, and then nothing, is waited for longer than is allowed.
    async fn is_waited_for(words: &[&[u8]]) -> bool {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Hurried::new(server, PATIENCE);
        let mut read = [0; 64];
        for word in words {
            client.write_all(word).await.unwrap();
            assert_eq!(server.read(&mut read).await.unwrap(), word.len());
        }
        match tokio::time::timeout(PATIENCE * 10, server.read(&mut read)).await {
            Err(_) => true,
            Ok(ended) => {
                assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
                false
            }
        }
    }

    #[tokio::test]
    async fn only_who_ends_the_preface_or_speaks_something_else_is_waited_for() {
        assert!(!is_waited_for(&[]).await);
        assert!(!is_waited_for(&[b"PRI * HT"]).await);
        assert!(!is_waited_for(&[b"P", b"RI", b" * HTTP/2.0\r\n\r\nSM\r\n\r"]).await);
        assert!(is_waited_for(&[PREFACE]).await);
        assert!(is_waited_for(&[b"PRI * HTTP/2.0\r\n\r\n", b"SM\r\n\r\n"]).await);
        assert!(is_waited_for(&[b"P", b"UT / HTTP/1.1\r\n"]).await);
        assert!(is_waited_for(&[b"GET / HTTP/1.1\r\n\r\n"]).await);
    }
}
