//! The bytes of one connection to a port of a box: by a short way where the engine knows one, else
//! through the link.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use boxherd_link::{Link, PortStream};
use boxherd_model::BoxId;
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Short ways at once, at most.
const MOST: u64 = 4096;

/// Room for connections of which each takes a descriptor: a quarter of what this process may have, so
/// that visitors of boxes do not leave it without any. The link takes the rest.
pub(crate) fn room() -> Arc<Semaphore> {
    let most = getrlimit(Resource::Nofile).current.map_or(MOST, |all| (all / 4).min(MOST));
    Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(0)))
}

/// A connection to a port of a box.
#[derive(Debug)]
pub(crate) enum Way {
    Link(PortStream),
    Short(TcpStream, #[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
}

/// The connection, and the end of its box's link. That ends with the box; so does whatever is done with
/// the connection, which would keep the box's network.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) way: Way,
    pub(crate) end: End,
}

/// The ends of links. Each is waited for once, whatever the number of connections.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<HashMap<BoxId, End>>);

/// The end of a link.
#[derive(Debug, Clone)]
pub(crate) struct End(watch::Receiver<()>);

impl Ends {
    pub(crate) fn of(&self, id: BoxId, link: &Link) -> End {
        let mut all = self.0.lock();
        if let Some(end) = all.get(&id).filter(|end| !end.has_come()) {
            return end.clone();
        }
        all.retain(|_, end| !end.has_come());
        let (lasts, end) = watch::channel(());
        let link = link.clone();
        tokio::spawn(async move {
            let ended = link.closed().await;
            tracing::debug!(%id, %ended, "a link ended");
            drop(lasts);
        });
        all.insert(id, End(end.clone()));
        End(end)
    }
}

impl End {
    fn has_come(&self) -> bool {
        self.0.has_changed().is_err()
    }

    pub(crate) async fn come(mut self) {
        // Nothing is ever sent: it changes when whoever would send is gone.
        while self.0.changed().await.is_ok() {}
    }
}

/// Drives a connection for as long as its box is there.
pub(crate) async fn drive(end: End, driver: impl Future<Output = hyper::Result<()>>) {
    tokio::select! {
        biased;
        driven = driver => {
            if let Err(error) = driven {
                tracing::debug!(%error, "a connection to a box ended early");
            }
        }
        () = end.come() => tracing::debug!("a box ended with connections to it"),
    }
}

impl AsyncRead for Way {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Link(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Short(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Way {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Link(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Short(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Link(stream) => Pin::new(stream).poll_flush(cx),
            Self::Short(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Link(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Short(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Link(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Short(stream, _) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Short(..))
    }
}
