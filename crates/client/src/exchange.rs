//! Where API keys are exchanged: at the server, or at another that is named for it.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;
use tonic::body::Body;

use crate::Error;
use crate::endpoint::Endpoint;
use crate::login::PATH;
use crate::transport::{Transport, dial};

/// HTTP/1.1, as it is called in TLS (RFC 7301, 6).
pub(crate) const HTTP_1: &[u8] = b"http/1.1";
/// How long an exchange elsewhere may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) enum Exchange {
    /// Over the connection to the server, whose origin this is.
    Here(Uri),
    /// Over a connection of its own.
    There { endpoint: Endpoint, path: String, tls: Option<Arc<ClientConfig>> },
}

impl Exchange {
    /// Sends `body`, which has the key.
    pub(crate) async fn ask(
        &self,
        transport: &Transport,
        body: String,
    ) -> Result<Response<Incoming>, Error> {
        match self {
            Self::Here(origin) => {
                let uri = format!("{}{PATH}", origin.to_string().trim_end_matches('/'));
                Ok(transport.send(request(Request::post(uri), body)?).await?)
            }
            Self::There { endpoint, path, tls } => {
                let asking = elsewhere(endpoint, path, tls.as_ref(), body);
                let none = |_| Error::lost("the exchange of keys does not answer");
                timeout(PATIENCE, asking).await.map_err(none)?
            }
        }
    }
}

async fn elsewhere(
    endpoint: &Endpoint,
    path: &str,
    tls: Option<&Arc<ClientConfig>>,
    body: String,
) -> Result<Response<Incoming>, Error> {
    // To exchange a key twice does no harm, so that it makes no difference what was sent.
    let failed = |error: &dyn std::fmt::Display| {
        Error::lost(format!("the exchange of keys cannot be reached: {error}"))
    };
    let stream = dial(endpoint, tls).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // Whoever waits for the answer is told what went wrong.
    tokio::spawn(async move { drop(connection.await) });
    let origin = endpoint.origin()?;
    let host = origin.authority().map_or("", |authority| authority.as_str());
    let asked = request(Request::post(path).header(HOST, host), body)?;
    sender.send_request(asked).await.map_err(|error| failed(&error))
}

fn request(of: hyper::http::request::Builder, body: String) -> Result<Request<Body>, Error> {
    of.header(CONTENT_TYPE, "application/json")
        .body(Body::new(body))
        .map_err(|error| Error::Config(error.to_string()))
}
