//! WebSockets over HTTP/2 (RFC 8441): the box is asked as HTTP/1.1 asks, and answered for.
//!
//! The key and its answer are made in `boxherd-lxd-client` too, which stands on its own.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::ext::Protocol;

use crate::headers;
use crate::refusal::Refusal;

/// What a server adds to the key that it is sent (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the box has to accept.
#[derive(Debug)]
pub(crate) struct Asked {
    accept: String,
}

/// Makes the extended `CONNECT` of a client into the request for an upgrade that HTTP/1.1 knows. `None`
/// of any other request.
///
/// # Errors
///
/// It is a `CONNECT` of another kind: nobody gets a tunnel to somewhere else.
pub(crate) fn ask(request: &mut Request<Body>) -> Result<Option<Asked>, Refusal> {
    if request.method() != Method::CONNECT {
        return Ok(None);
    }
    match request.extensions_mut().remove::<Protocol>() {
        Some(protocol) if protocol.as_str().eq_ignore_ascii_case("websocket") => {}
        Some(_) => return Err(Refusal::NoSuchProtocol),
        None => return Err(Refusal::Malformed("this proxy makes no tunnels")),
    }
    let mut nonce = [0; 16];
    rand::fill(&mut nonce).map_err(|_| Refusal::NoRandomness)?;
    let key = STANDARD.encode(nonce);
    let accept =
        STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    let asked = request.headers_mut();
    asked.remove(header::CONTENT_LENGTH);
    let key = HeaderValue::try_from(key).unwrap_or_else(|_| unreachable!("letters and digits"));
    asked.insert(header::SEC_WEBSOCKET_KEY, key);
    headers::put_upgrade(asked, HeaderValue::from_static("websocket"));
    Ok(Some(Asked { accept }))
}

impl Asked {
    /// Makes the answer of the box into that to a `CONNECT`: whatever succeeds there is a websocket.
    ///
    /// # Errors
    ///
    /// The box made none, and does not say that it refuses.
    pub(crate) fn answer<B>(self, mut response: Response<B>) -> Result<Response<B>, Refusal> {
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let accepted = response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
            if accepted.is_none_or(|accepted| accepted != self.accept) {
                return Err(Refusal::NoWebsocket);
            }
            *response.status_mut() = StatusCode::OK;
            headers::drop_hop_by_hop(response.headers_mut());
        } else if status.is_success() || status.is_informational() {
            return Err(Refusal::NoWebsocket);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(protocol: Option<&'static str>) -> Request<Body> {
        let request = Request::builder().method(Method::CONNECT).version(Version::HTTP_2);
        let mut request = request.uri("http://web.localhost/chat?a=b").body(Body::empty()).unwrap();
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(Protocol::from_static(protocol));
        }
        request
    }

    fn answer(status: StatusCode, accept: &str) -> Response<()> {
        let response = Response::builder().status(status);
        response.header(header::SEC_WEBSOCKET_ACCEPT, accept).body(()).unwrap()
    }

    #[test]
    fn a_connect_becomes_a_request_for_an_upgrade() {
        let mut request = connect(Some("websocket"));
        let asked = ask(&mut request).unwrap().expect("one");
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
        assert_eq!(headers::upgrade(request.headers()).unwrap(), "websocket");
        let key = request.headers()[header::SEC_WEBSOCKET_KEY].to_str().unwrap();
        assert_eq!(STANDARD.decode(key).unwrap().len(), 16);
        let accept = asked.accept.clone();
        let answered = asked.answer(answer(StatusCode::SWITCHING_PROTOCOLS, &accept)).unwrap();
        assert_eq!(answered.status(), StatusCode::OK);
        assert!(answered.headers().is_empty(), "{answered:?}");
    }

    #[test]
    fn what_makes_no_websocket_is_none() {
        let answered = |status, accept| {
            let asked = ask(&mut connect(Some("websocket"))).unwrap().unwrap();
            asked.answer(answer(status, accept)).map(|response| response.status())
        };
        assert!(matches!(answered(StatusCode::OK, "x"), Err(Refusal::NoWebsocket)));
        let switched = answered(StatusCode::SWITCHING_PROTOCOLS, "x");
        assert!(matches!(switched, Err(Refusal::NoWebsocket)));
        assert_eq!(answered(StatusCode::FORBIDDEN, "x").unwrap(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn nobody_gets_a_tunnel() {
        assert!(matches!(ask(&mut connect(None)), Err(Refusal::Malformed(_))));
        assert!(matches!(ask(&mut connect(Some("connect-udp"))), Err(Refusal::NoSuchProtocol)));
        let mut get = Request::new(Body::empty());
        assert!(ask(&mut get).unwrap().is_none());
    }
}
