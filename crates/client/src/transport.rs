//! One HTTP/2 connection, made when it is needed and made again when it is lost.
//!
//! Of a request that failed it is known whether any of it was sent, on which rests that nothing is
//! done twice. `tonic`'s own channel does not say.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::endpoint::Endpoint;
use crate::sending::Tasks;

/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(10);
/// After so long without a sign of life, and again after a ping, the server is taken to be gone.
const SILENCE: Duration = Duration::from_secs(20);
/// What may be on its way to us in one stream, and in all: streams that nobody reads do not stop
/// others, of which a server allows 200.
const STREAM: u32 = 256 * 1024;
const ALL: u32 = 64 * 1024 * 1024;

/// HTTP/2, as it is called in TLS (RFC 9113, 3.2).
pub(crate) const H2: &[u8] = b"h2";

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct TransportError {
    pub(crate) message: String,
    /// Whether any of it may have reached the server.
    pub(crate) sent: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    sender: Mutex<Option<SendRequest<Body>>>,
}

impl Transport {
    /// Connects to nothing yet.
    pub(crate) fn new(endpoint: Endpoint, tls: Option<Arc<ClientConfig>>) -> Self {
        Self(Arc::new(Inner { endpoint, tls, sender: Mutex::default() }))
    }

    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, TransportError> {
        // The second time on a connection that was made just now.
        for last in [false, true] {
            let mut sender = self.0.sender().await?;
            let failed = match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            let mut failed = failed;
            let back = failed.take_message();
            let sent = back.is_none();
            let message = format!("the connection to the server was lost: {}", failed.into_error());
            request = match back {
                Some(back) if !last => back,
                _ => return Err(TransportError { message, sent }),
            };
        }
        Err(TransportError { message: "the connection is closed".to_owned(), sent: false })
    }
}

impl Inner {
    async fn sender(&self) -> Result<SendRequest<Body>, TransportError> {
        let mut kept = self.sender.lock().await;
        if let Some(sender) = kept.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let not_sent = |message| TransportError { message, sent: false };
        let what = self.what();
        let sender = timeout(CONNECTING, self.connect())
            .await
            .map_err(|_| not_sent(format!("{what} does not answer")))?
            .map_err(|error| not_sent(format!("cannot connect to {what}: {error}")))?;
        *kept = Some(sender.clone());
        Ok(sender)
    }

    fn what(&self) -> String {
        match &self.endpoint {
            Endpoint::Unix(path) => format!("`unix:{}`", path.display()),
            Endpoint::Tcp { host, port, .. } => format!("`{host}:{port}`"),
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Body>> {
        handshake(dial(&self.endpoint, self.tls.as_ref()).await?).await
    }
}

/// A connection, encrypted where it has to be.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

/// Connects to a server.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    tls: Option<&Arc<ClientConfig>>,
) -> io::Result<Box<dyn Io>> {
    let (host, port) = match endpoint {
        Endpoint::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Endpoint::Tcp { host, port, .. } => (host, *port),
    };
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
    let secure = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    let wanted = tls.alpn_protocols.iter().any(|protocol| protocol == H2);
    if wanted && secure.get_ref().1.alpn_protocol() != Some(H2) {
        return Err(io::Error::other("the server does not speak HTTP/2"));
    }
    Ok(Box::new(secure))
}

async fn handshake(stream: Box<dyn Io>) -> io::Result<SendRequest<Body>> {
    let (sender, connection) = Builder::new(Tasks)
        .timer(TokioTimer::new())
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE)
        .initial_stream_window_size(STREAM)
        .initial_connection_window_size(ALL)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends with the last sender. Whoever waits for an answer is told what went wrong. It is none of the
    // tasks that can be ended, though it asks each body for its beginning.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let transport = self.clone();
        Box::pin(async move { transport.send(request).await })
    }
}
