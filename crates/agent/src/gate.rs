//! Links of an agent in a box whose memory can be saved: they are handed in through a gate, and all
//! of them are let go of before the memory is saved, because no descriptor of the host's comes back
//! with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use boxherd_link::agent_config::{CONNECTION, PARK};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::Agent;

/// What came through the gate.
enum Word {
    Link(UnixStream),
    Park,
}

/// Where links come from.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    path: &'a Path,
    again: Signal,
}

impl<'a> Gate<'a> {
    /// Must be made before anybody could send the signal that means "connect again".
    pub(crate) fn new(path: &'a Path) -> io::Result<Self> {
        Ok(Self { path, again: signal(SignalKind::user_defined1())? })
    }

    /// Serves what comes through the gate until the agent is told to stop, or the gate is gone.
    pub(crate) async fn serve(&mut self, agent: &Agent) -> io::Result<()> {
        loop {
            let gate = UnixStream::connect(self.path).await?;
            let (held, mut all_closed) = mpsc::channel::<()>(1);
            loop {
                let word = tokio::select! {
                    () = agent.stopped() => return Ok(()),
                    word = hear(&gate) => word?,
                };
                match word {
                    Word::Link(stream) => {
                        let held = Held { stream, _until_closed: held.clone() };
                        let agent = agent.clone();
                        tokio::spawn(async move { agent.serve(held).await });
                    }
                    Word::Park => break,
                }
            }
            agent.let_go_of_links();
            drop(held);
            // Nothing is ever sent: this ends when the last link is closed.
            all_closed.recv().await;
            // That it closes says that all is let go.
            drop(gate);
            self.again.recv().await;
        }
    }
}

/// The next word, and the descriptor that belongs to it.
async fn hear(gate: &UnixStream) -> io::Result<Word> {
    let (word, fd) = gate.async_io(Interest::READABLE, || receive(gate)).await?;
    match (word, fd) {
        (CONNECTION, Some(fd)) => {
            let stream = StdStream::from(fd);
            stream.set_nonblocking(true)?;
            Ok(Word::Link(UnixStream::from_std(stream)?))
        }
        (PARK, None) => Ok(Word::Park),
        _ => Err(io::Error::other("what came through the gate makes no sense")),
    }
}

fn receive(gate: &UnixStream) -> io::Result<(u8, Option<OwnedFd>)> {
    let mut word = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut word)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(gate, &mut slices, &mut control, flags)?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    match received.bytes {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the gate is gone")),
        _ => Ok((word[0], fd)),
    }
}

/// A stream that others can wait for to be closed.
#[derive(Debug)]
struct Held {
    stream: UnixStream,
    _until_closed: mpsc::Sender<()>,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Held {
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
        slices: &[IoSlice<'_>],
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
