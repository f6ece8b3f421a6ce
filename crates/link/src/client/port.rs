//! A connection to a port in a box.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{answer, unexpected};
use crate::conn::{Inbound, Stream};
use crate::proto::Answer;
use crate::{LinkError, channel};

/// A TCP connection to a port in a box. Either direction can be ended without the other:
/// `shutdown` ends the writing side.
pub struct PortStream {
    stream: Stream,
    /// Received and not yet read, with what it cost.
    rest: Bytes,
    owed: u32,
    ended: bool,
    shut: bool,
}

impl PortStream {
    pub(super) async fn connect(stream: Stream, port: u16) -> Result<Self, LinkError> {
        match answer(&stream).await {
            Ok(Answer::Done(_)) => {
                Ok(Self { stream, rest: Bytes::new(), owed: 0, ended: false, shut: false })
            }
            Ok(_) => Err(unexpected()),
            Err(LinkError::File { errno, .. }) => Err(LinkError::Dial { port, errno }),
            Err(error) => Err(error),
        }
    }

    /// Makes `rest` hold something, unless the connection has ended.
    fn poll_fill(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.ended {
            self.stream.release(std::mem::take(&mut self.owed));
            match ready!(self.stream.poll_recv(cx))? {
                Inbound::Data { bytes, fin, cost, .. } => {
                    (self.rest, self.owed, self.ended) = (bytes, cost, fin);
                }
                Inbound::Message(_) => {}
                Inbound::End => self.ended = true,
                Inbound::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for PortStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_fill(cx))?;
        let count = buffer.remaining().min(self.rest.len());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PortStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = ready!(self.stream.poll_room(cx))?.min(bytes.len());
        self.stream.send_now(channel::MAIN, Bytes::copy_from_slice(&bytes[..count]), false);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            self.shut = true;
            self.stream.finish(channel::MAIN);
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for PortStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortStream").finish_non_exhaustive()
    }
}
