//! Websockets over kept connections: one round trip where a connection is idle.

use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::operations::Operation;
use crate::transport::Call;
use crate::url::Url;

pub(crate) type WebSocket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// LXD writes frames of the size of its reads; what is larger comes from no LXD.
const MAX_FRAME: usize = 16 << 20;

/// Opens a websocket (RFC 6455, 4.1).
pub(crate) async fn open(client: &Client, url: Url) -> Result<WebSocket> {
    let key = generate_key();
    let call = Call::new(Method::GET, url).header("sec-websocket-key", &key)?;
    let call = call.header("sec-websocket-version", "13")?;
    let name = call.name();
    let limit = client.core.settings.answer_limit;
    tokio::time::timeout(limit, upgrade(client, call, &key))
        .await
        .map_err(|_| Error::Timeout { call: name, after: limit })?
}

async fn upgrade(client: &Client, mut call: Call, key: &str) -> Result<WebSocket> {
    let name = call.name();
    call.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    call.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let response = client.stream(call).await?;
    check(&name, response.status(), response.headers(), key)?;
    let (parts, body) = response.into_parts();
    let upgraded = body.upgrade(parts).await.map_err(|error| Error::protocol(&name, error))?;
    let config = WebSocketConfig::default()
        // Every frame is written at once: what is sent here is awaited.
        .write_buffer_size(0)
        .read_buffer_size(64 << 10)
        .max_frame_size(Some(MAX_FRAME))
        .max_message_size(Some(MAX_FRAME));
    let io = TokioIo::new(upgraded);
    Ok(WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await)
}

fn check(call: &str, status: StatusCode, headers: &HeaderMap, key: &str) -> Result<()> {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::protocol(call, format!("{status} instead of a websocket")));
    }
    let accept = headers.get("sec-websocket-accept").map(HeaderValue::as_bytes);
    if accept != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(Error::protocol(call, "a websocket that does not answer to its key"));
    }
    Ok(())
}

/// Opens the websocket `name` of an exec (`fds` in its metadata).
pub(crate) async fn open_of(operation: &Operation, name: &str) -> Result<WebSocket> {
    let secret = operation.metadata()["fds"][name]
        .as_str()
        .ok_or_else(|| Error::protocol("exec", format!("an exec without a stream `{name}`")))?;
    open(operation.client(), operation.websocket_url(secret)).await
}
