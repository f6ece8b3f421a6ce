//! Requests to a server that may have several endpoints: which is asked, and who is asked next.
//!
//! A request goes to the endpoint that answered last. One that cannot be connected to is passed
//! over. A request that may have reached a server is repeated only when repeating it is harmless.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response};

use crate::client::{Remote, Settings};
use crate::error::{Error, Result};
use crate::pool::{Body, Failed, Pool, PooledBody};
use crate::tls::{self, Trust};
use crate::url::Url;

/// A request, before it is known to whom.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

pub(crate) enum Payload {
    Bytes(Bytes),
    /// It can be sent once.
    Stream(Option<Body>),
}

impl Call {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), payload: Payload::Bytes(Bytes::new()) }
    }

    pub(crate) fn json(mut self, body: &impl serde::Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(body).map_err(|error| Error::invalid("body", error))?;
        self.payload = Payload::Bytes(bytes.into());
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(self)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value)
            .map_err(|error| Error::invalid(format!("header `{name}`"), error))?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// What errors call it.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.url.without_query())
    }

    /// Whether the connection is to become a websocket. The secret of one counts once: LXD 5.0 answers
    /// whoever comes with it again as if all were well, and speaks with the first alone.
    fn is_websocket(&self) -> bool {
        self.headers.contains_key(UPGRADE)
    }

    /// The request, unless its body is gone.
    fn request(&mut self) -> Result<Option<Request<Body>>> {
        let body = match &mut self.payload {
            Payload::Bytes(bytes) => {
                Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync()
            }
            Payload::Stream(stream) => match stream.take() {
                Some(stream) => stream,
                None => return Ok(None),
            },
        };
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.url.as_str())
            .body(body)
            .map_err(|error| Error::invalid(format!("`{}`", self.url.without_query()), error))?;
        *request.headers_mut() = self.headers.clone();
        Ok(Some(request))
    }
}

/// The endpoints of one server or cluster.
pub(crate) struct Transport {
    pools: Vec<Arc<Pool>>,
    preferred: AtomicUsize,
    settings: Settings,
}

impl Transport {
    pub(crate) fn new(remote: &Remote, settings: Settings) -> Result<Self> {
        if remote.endpoints.is_empty() {
            return Err(Error::invalid("remote", "it has no endpoint"));
        }
        let tls = remote
            .server_certificate
            .clone()
            .map(|pinned| tls::config(Trust::Pinned(pinned), remote.identity.as_ref()))
            .transpose()?;
        let pool =
            |endpoint: &_| Pool::new(Clone::clone(endpoint), tls.clone(), settings.connect_limit);
        let pools = remote.endpoints.iter().map(pool).collect();
        Ok(Self { pools, preferred: AtomicUsize::new(0), settings })
    }

    /// How many connections were ever opened, to all endpoints.
    pub(crate) fn dialled(&self) -> u64 {
        self.pools.iter().map(|pool| pool.dialled()).sum()
    }

    /// Opens connections ahead of their use: to the preferred endpoint, or else to the first that
    /// can be connected to.
    pub(crate) async fn warm(&self, count: usize, first: usize) -> Result<()> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut causes = Vec::new();
        for step in 0..self.pools.len() {
            let at = (preferred + step) % self.pools.len();
            match self.pools[at].warm(count, first).await {
                Ok(()) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error @ Error::Connect { .. }) => causes.push(error),
                Err(error) => return Err(error),
            }
        }
        Err(unreachable_by(causes))
    }

    /// Sends `call`, and returns the answer once its head is there.
    pub(crate) async fn send(&self, mut call: Call) -> Result<Response<PooledBody>> {
        let mut left = self.settings.retries;
        let mut wait = self.settings.retry_after;
        loop {
            let error = match self.round(&mut call).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let body_gone = matches!(call.payload, Payload::Stream(None));
            if left == 0 || body_gone || !self.may_repeat(&call, &error) {
                return Err(error);
            }
            tracing::debug!(call = call.name(), %error, "asked again");
            left -= 1;
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    fn may_repeat(&self, call: &Call, error: &Error) -> bool {
        match error {
            Error::Connect { .. } | Error::NoEndpoint { .. } => true,
            Error::Broken { .. } => call.method.is_safe() && !call.is_websocket(),
            _ => false,
        }
    }

    /// Asks each endpoint until one can be connected to.
    async fn round(&self, call: &mut Call) -> Result<Response<PooledBody>> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut causes = Vec::new();
        let mut unsent = None;
        for step in 0..self.pools.len() {
            let at = (first + step) % self.pools.len();
            let Some(request) = unsent.take().map_or_else(|| call.request(), |r| Ok(Some(r)))?
            else {
                break;
            };
            match self.pools[at].send(request).await {
                Ok(response) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(Failed { error: error @ Error::Connect { .. }, unsent: request }) => {
                    causes.push(error);
                    unsent = request;
                }
                Err(Failed { error, .. }) => return Err(error),
            }
        }
        // A streamed body that nobody took can be offered in the next round.
        if let (Payload::Stream(stream), Some(request)) = (&mut call.payload, unsent) {
            *stream = Some(request.into_body());
        }
        Err(unreachable_by(causes))
    }

    /// The endpoint that is asked first.
    pub(crate) fn preferred(&self) -> &crate::Endpoint {
        self.pools[self.preferred.load(Ordering::Relaxed)].endpoint()
    }
}

/// The error of having tried every endpoint.
fn unreachable_by(causes: Vec<Error>) -> Error {
    match <[Error; 1]>::try_from(causes) {
        Ok([only]) => only,
        Err(causes) => Error::NoEndpoint { causes },
    }
}
