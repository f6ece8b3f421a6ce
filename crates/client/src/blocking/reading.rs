//! What blocks while it is read, for an event loop that must not.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

/// How much is read at once, in bytes, and how many such pieces may wait.
const PIECE: usize = 256 * 1024;
const WAITING: usize = 4;

/// Reads in a thread, which ends with what it reads, or when nobody wants more.
pub(super) struct FromThread {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl FromThread {
    pub(super) fn new(content: impl Read + Send + 'static) -> Self {
        let (sender, pieces) = mpsc::channel(WAITING);
        std::thread::spawn(move || read(content, &sender));
        Self { pieces, rest: Bytes::new() }
    }
}

fn read(mut content: impl Read, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match content.read(&mut piece) {
            Ok(0) => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map(|count| Bytes::copy_from_slice(&piece[..count])),
        };
        let failed = read.is_err();
        if sender.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

impl AsyncRead for FromThread {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(piece) => self.rest = piece?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(into.remaining());
        into.put_slice(&self.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    struct Fails(usize);

    impl Read for Fails {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0 {
                0 => Err(io::Error::other("torn")),
                left => {
                    let count = left.min(into.len());
                    self.0 -= count;
                    Ok(count)
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_read_comes_whole() {
        let content: Vec<u8> = (0..3 * PIECE + 7).map(|n| (n % 251) as u8).collect();
        let mut came = Vec::new();
        let reading = io::Cursor::new(content.clone());
        FromThread::new(reading).read_to_end(&mut came).await.unwrap();
        assert!(came == content);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told() {
        let mut came = Vec::new();
        let failed = FromThread::new(Fails(10)).read_to_end(&mut came).await.unwrap_err();
        assert_eq!((failed.to_string().as_str(), came.len()), ("torn", 10));
    }
}
