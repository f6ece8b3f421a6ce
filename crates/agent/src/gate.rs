//! Links of an agent in a box whose memory can be saved: it makes them itself when it is told to at
//! its gate, and lets go of all of them before the memory is saved, because no descriptor of the
//! host's comes back with it.

use std::io::{self, IoSlice};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use boxherd_link::agent_config::{CONNECTION, PARK};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::Agent;

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
            let mut gate = UnixStream::connect(self.path).await?;
            let (held, mut all_closed) = mpsc::channel::<()>(1);
            loop {
                let word = tokio::select! {
                    () = agent.stopped() => return Ok(()),
                    word = gate.read_u8() => word?,
                };
                match word {
                    CONNECTION => {
                        let stream = UnixStream::connect(self.path).await?;
                        let held = Held { stream, _until_closed: held.clone() };
                        let agent = agent.clone();
                        tokio::spawn(async move { agent.serve(held).await });
                    }
                    PARK => break,
                    _ => return Err(io::Error::other("what came through the gate makes no sense")),
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
