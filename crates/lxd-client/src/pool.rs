//! Kept connections to one endpoint.
//!
//! A connection goes back into the pool when the body of its last response has been read to the
//! end, and is closed when the body is dropped before. A pooled connection that the server closed
//! in the meantime is noticed before anything was written to it, and another one is taken.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;

use crate::dial::dial;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};

/// The body of a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Idle connections beyond these are closed.
const MAX_IDLE: usize = 32;

/// A request that failed; with the request itself when nothing of it was sent.
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) unsent: Option<Request<Body>>,
}

/// The connections to one endpoint.
pub(crate) struct Pool {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    connect_limit: Duration,
    idle: Mutex<Vec<SendRequest<Body>>>,
    dialled: AtomicU64,
}

impl Pool {
    pub(crate) fn new(
        endpoint: Endpoint,
        tls: Option<Arc<ClientConfig>>,
        connect_limit: Duration,
    ) -> Arc<Self> {
        let (idle, dialled) = (Mutex::new(Vec::new()), AtomicU64::new(0));
        Arc::new(Self { endpoint, tls, connect_limit, idle, dialled })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How many connections were ever opened.
    pub(crate) fn dialled(&self) -> u64 {
        self.dialled.load(Ordering::Relaxed)
    }

    /// Opens connections until `count` are idle, all at once, and returns when `first` of them are there;
    /// none to a socket of this machine. There it saves nothing, and LXD 5.0.2 takes no other connection
    /// while it waits for the first byte of one that it has taken.
    pub(crate) async fn warm(self: &Arc<Self>, count: usize, first: usize) -> Result<()> {
        if self.tls.is_none() {
            return Ok(());
        }
        let there = self.idle.lock().len();
        let connect = |_| Arc::clone(self).connect_to_keep();
        let mut fresh: FuturesUnordered<_> = (there..count.min(MAX_IDLE)).map(connect).collect();
        for _ in there..first {
            if let Some(made) = fresh.next().await {
                made?;
            }
        }
        // Whoever misses one of them makes it anew, and says why that fails.
        tokio::spawn(async move { while fresh.next().await.is_some() {} });
        Ok(())
    }

    async fn connect_to_keep(self: Arc<Self>) -> Result<()> {
        let sender = self.connect().await?;
        self.put_back(sender);
        Ok(())
    }

    /// Sends a request on a connection that is not in use.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<Response<PooledBody>, Failed> {
        let call = format!("{} {}", request.method(), request.uri().path());
        request.headers_mut().insert(HOST, self.host());
        loop {
            let (mut sender, fresh) = match self.idle().await {
                Some(sender) => (sender, false),
                None => match self.connect().await {
                    Ok(sender) => (sender, true),
                    Err(error) => return Err(Failed { error, unsent: Some(request) }),
                },
            };
            let mut failed = match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.pooled(sender, response)),
                Err(failed) => failed,
            };
            match failed.take_message() {
                // It was closed while it lay in the pool.
                Some(unsent) if !fresh => request = unsent,
                unsent => {
                    let error = self.broken(call, failed.into_error());
                    return Err(Failed { error, unsent });
                }
            }
        }
    }

    fn broken(&self, call: String, error: hyper::Error) -> Error {
        let endpoint = self.endpoint.to_string();
        if error.is_parse() {
            return Error::protocol(call, format!("no HTTP: {error}"));
        }
        Error::Broken { endpoint, call, source: io::Error::other(error) }
    }

    fn pooled(
        self: &Arc<Self>,
        sender: SendRequest<Body>,
        response: Response<Incoming>,
    ) -> Response<PooledBody> {
        response.map(|incoming| PooledBody { incoming, back: Some((Arc::clone(self), sender)) })
    }

    async fn idle(&self) -> Option<SendRequest<Body>> {
        loop {
            let mut sender = self.idle.lock().pop()?;
            // Its last response is read, so this ends at once: it is ready, or closed.
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Body>> {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        let stream = dial(&self.endpoint, self.tls.as_ref(), self.connect_limit).await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| Error::Connect {
                endpoint: self.endpoint.to_string(),
                source: io::Error::other(error),
            })?;
        let endpoint = self.endpoint.to_string();
        tokio::spawn(async move {
            // Whoever waits for an answer on it is told; this is for the others.
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%endpoint, %error, "connection ended");
            }
        });
        Ok(sender)
    }

    fn put_back(&self, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(sender);
        }
    }

    fn host(&self) -> HeaderValue {
        HeaderValue::from_str(&self.endpoint.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("lxd"))
    }
}

/// The body of a response; its end frees the connection.
pub(crate) struct PooledBody {
    incoming: Incoming,
    back: Option<(Arc<Pool>, SendRequest<Body>)>,
}

impl PooledBody {
    fn finish(&mut self) {
        if let Some((pool, sender)) = self.back.take() {
            pool.put_back(sender);
        }
    }
}

impl PooledBody {
    /// The connection itself, after `101 Switching Protocols`. It never goes back into the pool.
    pub(crate) async fn upgrade(
        self,
        head: hyper::http::response::Parts,
    ) -> hyper::Result<Upgraded> {
        hyper::upgrade::on(Response::from_parts(head, self.incoming)).await
    }
}

impl std::fmt::Debug for PooledBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PooledBody").finish_non_exhaustive()
    }
}

impl HttpBody for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) {
            self.finish();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        // Readers that stop early because of a hint would not reach `finish`.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
