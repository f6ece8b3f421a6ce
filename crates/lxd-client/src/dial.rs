//! A fresh connection to an endpoint: TCP and TLS, or a unix socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::tls;

/// A connection, of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects within `limit`. Two round trips with TLS (TCP, TLS 1.3), none with a unix socket.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    tls: Option<&Arc<ClientConfig>>,
    limit: Duration,
) -> Result<Stream> {
    let dialled = match endpoint {
        Endpoint::Unix(path) => tokio::time::timeout(limit, UnixStream::connect(path))
            .await
            .map(|r| r.map(Stream::Unix)),
        Endpoint::Https { host, port } => {
            let Some(tls) = tls else {
                return Err(Error::invalid(
                    format!("`{endpoint}`"),
                    "no certificate of the server is known to trust it by",
                ));
            };
            tokio::time::timeout(limit, https(host, *port, tls)).await
        }
    };
    let error = match dialled {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => error,
        Err(_) => {
            io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}"))
        }
    };
    Err(match tls::mismatch(&error) {
        Some(tls::Mismatch { pinned, found }) => {
            Error::Pin { endpoint: endpoint.to_string(), pinned, found }
        }
        None => Error::Connect { endpoint: endpoint.to_string(), source: error },
    })
}

async fn https(host: &str, port: u16, tls: &Arc<ClientConfig>) -> io::Result<Stream> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    notice_death(&tcp)?;
    // It is only sent to the server; what is trusted is its certificate.
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// After how long without a sign of life a connection is given up: a machine that lost its power
/// closes nothing, and streams of commands may be silent for hours.
const DEAD_AFTER: Duration = Duration::from_secs(30);

fn notice_death(tcp: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, DEAD_AFTER / 2)?;
    sockopt::set_tcp_keepintvl(tcp, DEAD_AFTER / 6)?;
    sockopt::set_tcp_keepcnt(tcp, 3)?;
    sockopt::set_tcp_user_timeout(tcp, u32::try_from(DEAD_AFTER.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
