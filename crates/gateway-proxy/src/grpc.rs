//! Calls of gRPC, which need HTTP/2 up to the box: their trailers say what came of them.
//!
//! A box gets one connection for each of its ports, over which all calls go.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderValue, Request, Uri, Version, header};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;

use crate::pool::Place;
use crate::refusal::Refusal;
use crate::way::{Dialled, drive};

/// Connections by where they lead.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<HashMap<Place, SendRequest<Body>>>);

/// Whether a request, as it came, is a call.
pub(crate) fn is_call(request: &Request<Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let rest = kind.strip_prefix("application/grpc");
    request.version() == Version::HTTP_2
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

impl Calls {
    /// The connection to that port, while it holds.
    pub(crate) fn kept(&self, place: Place) -> Option<SendRequest<Body>> {
        self.0.lock().get(&place).filter(|sender| !sender.is_closed()).cloned()
    }

    /// A new one, over a stream to the port.
    pub(crate) async fn connect(
        &self,
        place: Place,
        dialled: Dialled,
    ) -> Result<SendRequest<Body>, Refusal> {
        let made = handshake(TokioExecutor::new(), TokioIo::new(dialled.way)).await;
        let (sender, driver) = made.map_err(Refusal::Closed)?;
        tokio::spawn(drive(dialled.end, driver));
        let mut all = self.0.lock();
        all.retain(|_, sender| !sender.is_closed());
        all.insert(place, sender.clone());
        Ok(sender)
    }
}

/// What HTTP/2 wants to be told, and what was taken away as meant for one connection only.
pub(crate) fn into_call(request: &mut Request<Body>) -> Result<(), Refusal> {
    let host = request.headers_mut().remove(header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    (parts.scheme, parts.authority) = (Some(Scheme::HTTP), authority);
    *request.uri_mut() = Uri::from_parts(parts)
        .map_err(|_| Refusal::Malformed("the host or the method of the call makes no sense"))?;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_from_what_is_none() {
        let request = |version, kind: &'static str| {
            let request = Request::builder().version(version).header(header::CONTENT_TYPE, kind);
            request.body(Body::empty()).unwrap()
        };
        assert!(is_call(&request(Version::HTTP_2, "application/grpc")));
        assert!(is_call(&request(Version::HTTP_2, "application/grpc+proto")));
        assert!(!is_call(&request(Version::HTTP_11, "application/grpc")));
        assert!(!is_call(&request(Version::HTTP_2, "application/grpc-web")));
        assert!(!is_call(&request(Version::HTTP_2, "text/html")));
    }
}
