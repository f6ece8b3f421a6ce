//! Listeners and connections: HTTP/1.1 and HTTP/2 (with prior knowledge, or by ALPN) on one port.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use boxherd_herd::Source;
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::preface::Hurried;

/// How long a client may take to say its first word, for its TLS handshake, and for the head of a
/// request.
const PATIENCE: Duration = Duration::from_secs(15);
/// Connections at once, over all listeners.
const CONNECTIONS: usize = 10_000;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 1_000;
/// What a client may send on a stream, and on a connection, before it is read.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);
/// How long requests that are under way may take when the server is told to end.
const FAREWELL: Duration = Duration::from_secs(10);
/// After a failed accept (no descriptors are left, say) nobody is accepted for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, as it is written: `127.0.0.1:9443`, `[::1]:0`, `unix:/run/boxherd.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An address and a port; port 0 takes any that is free.
    Tcp(SocketAddr),
    /// A socket in the file system, for its owner only.
    Unix(PathBuf),
}

/// The text says of no place where to listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place to listen, use `ADDRESS:PORT` or `unix:PATH`")]
pub struct PlaceError(String);

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(PlaceError(text.to_owned())),
            None => text.parse().map(Self::Tcp).map_err(|_| PlaceError(text.to_owned())),
        }
    }
}

impl Place {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// A place at which is listened.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Socket),
}

/// The file of a socket, which goes with it.
#[derive(Debug)]
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // One that stays is replaced by the next server.
        drop(std::fs::remove_file(&self.0));
    }
}

impl Bound {
    /// Listens at `place`. With `tls`, only TLS is spoken there; never on unix sockets.
    pub async fn bind(place: &Place, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        match place {
            Place::Tcp(address) => {
                let listener = Listener::Tcp(TcpListener::bind(address).await?);
                Ok(Self { listener, tls })
            }
            Place::Unix(path) => {
                let listener = bind_unix(path)?;
                Ok(Self { listener: Listener::Unix(listener, Socket(path.clone())), tls: None })
            }
        }
    }

    /// Where it listens: with the port that was taken.
    pub fn place(&self) -> io::Result<String> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            Listener::Unix(_, socket) => Ok(format!("unix:{}", socket.0.display())),
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Source)> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Source::new(&peer.to_string())))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Source::new("unix")))
            }
        }
    }
}

/// A socket of a server that died is replaced; one that somebody listens at is not.
fn bind_unix(path: &PathBuf) -> io::Result<UnixListener> {
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(bound)
}

enum Stream {
    Tcp(TcpStream),
    Unix(tokio::net::UnixStream),
}

/// Serves until `ended` and then until what was under way is done, at most some seconds.
pub async fn serve(bound: Vec<Bound>, router: Router, ended: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    {
        let accepting = bound.iter().map(|bound| accept(bound, &router, &graceful, &places));
        tokio::select! {
            _ = join_all(accepting) => {}
            () = ended => {}
        }
    }
    drop(bound);
    if tokio::time::timeout(FAREWELL, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off that took longer than {FAREWELL:?} to end");
    }
}

async fn accept(
    bound: &Bound,
    router: &Router,
    graceful: &GracefulShutdown,
    places: &Arc<Semaphore>,
) {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
        match bound.accept().await {
            Ok((stream, source)) => {
                let connection = Connection {
                    router: router.clone(),
                    source,
                    tls: bound.tls.clone(),
                    watcher: graceful.watcher(),
                    _place: place,
                };
                tokio::spawn(connection.serve(stream));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

struct Connection {
    router: Router,
    source: Source,
    tls: Option<Arc<ServerConfig>>,
    watcher: hyper_util::server::graceful::Watcher,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: Stream) {
        let source = self.source.clone();
        let served = match stream {
            Stream::Unix(stream) => self.speak(stream).await,
            Stream::Tcp(stream) => self.greet(stream).await,
        };
        if let Err(error) = served {
            tracing::debug!(%source, error, "a connection ended early");
        }
    }

    async fn greet(
        self,
        stream: TcpStream,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // Who says nothing at all is not waited for.
        let mut word = [0];
        if tokio::time::timeout(PATIENCE, stream.peek(&mut word)).await?? == 0 {
            return Ok(());
        }
        match self.tls.clone() {
            None => self.speak(stream).await,
            Some(tls) => {
                let tls = TlsAcceptor::from(tls);
                let stream = tokio::time::timeout(PATIENCE, tls.accept(stream)).await??;
                self.speak(stream).await
            }
        }
    }

    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Self { router, source, watcher, _place, .. } = self;
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(source.clone());
            router.clone().oneshot(request.map(Body::new))
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        builder
            .http2()
            .timer(TokioTimer::new())
            // Websockets over HTTP/2.
            .enable_connect_protocol()
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1);
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(Hurried::new(stream, PATIENCE)), service);
        watcher.watch(connection.into_owned()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_or_sockets() {
        assert!("127.0.0.1:9443".parse::<Place>().unwrap().is_local());
        assert!("[::1]:0".parse::<Place>().unwrap().is_local());
        assert!(!"0.0.0.0:9443".parse::<Place>().unwrap().is_local());
        assert_eq!("unix:/a/b".parse(), Ok(Place::Unix("/a/b".into())));
        for text in ["", "9443", "localhost:1", "unix:", "unix:a"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_server_is_replaced_and_that_of_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let place = Place::Unix(path.clone());
        let bound = Bound::bind(&place, None).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = Bound::bind(&place, None).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        assert!(!path.exists());
    }
}
