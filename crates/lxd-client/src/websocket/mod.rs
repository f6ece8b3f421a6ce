//! Websockets over kept connections: one round trip where a connection is idle.
//!
//! Reading and writing fail apart: LXD closes a socket right after its last frame, so what it sent
//! must be readable although nothing can be written any more.

pub(crate) mod frame;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::{Sink, SinkExt as _, Stream as _};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_util::codec::{Framed, FramedParts};

use crate::client::Client;
use crate::dial::Stream;
use crate::error::{Error, Result};
use crate::operations::Operation;
use crate::transport::Call;
use crate::url::Url;
use crate::websocket::frame::{Binary, Codec, Frame, MAX_PAYLOAD, Opcode};

/// What is read at once, and what may wait to be written.
const BUFFER: usize = 64 << 10;

/// A message of the server's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Bytes of a stream; how the server cut them into messages means nothing.
    Binary(Bytes),
    /// A whole text.
    Text(Bytes),
    /// The server is there; it is answered.
    Ping,
    /// The server closes.
    Close,
}

/// When pings are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pong {
    /// At once: whoever reads also is the one who writes.
    Now,
    /// With whatever is written next, by another task.
    WithNextWrite,
}

/// A websocket of a client.
pub(crate) struct WebSocket {
    framed: Framed<Stream, Codec>,
    /// The kind of the message that is being read, and what there is of a text.
    message: Option<Opcode>,
    text: BytesMut,
    /// Whether a pong waits to be flushed.
    pong: bool,
    /// Whether it was said that nothing follows.
    closed: bool,
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}

impl WebSocket {
    /// A websocket on `stream`, of which `read` was read already.
    fn new(stream: Stream, read: &[u8]) -> Self {
        let mut parts = FramedParts::new::<Frame>(stream, Codec::new());
        parts.read_buf = BytesMut::with_capacity(BUFFER);
        parts.read_buf.extend_from_slice(read);
        let mut framed = Framed::from_parts(parts);
        framed.set_backpressure_boundary(BUFFER);
        Self { framed, message: None, text: BytesMut::new(), pong: false, closed: false }
    }

    /// The next message; `None` when the connection ended without a close.
    pub(crate) async fn message(&mut self) -> io::Result<Option<Message>> {
        std::future::poll_fn(|cx| self.poll_message(cx, Pong::Now)).await
    }

    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        pong: Pong,
    ) -> Poll<io::Result<Option<Message>>> {
        loop {
            if pong == Pong::Now {
                self.flush_pong(cx);
            }
            let Some(frame) = ready!(Pin::new(&mut self.framed).poll_next(cx)).transpose()? else {
                return Poll::Ready(Ok(None));
            };
            match frame.opcode {
                Opcode::Ping => {
                    self.answer(frame.payload);
                    return Poll::Ready(Ok(Some(Message::Ping)));
                }
                Opcode::Pong => {}
                Opcode::Close => return Poll::Ready(Ok(Some(Message::Close))),
                _ => {
                    if let Some(message) = self.part(frame)? {
                        return Poll::Ready(Ok(Some(message)));
                    }
                }
            }
        }
    }

    /// A frame of a message that may have more of them.
    fn part(&mut self, frame: Frame) -> io::Result<Option<Message>> {
        let kind = match (frame.opcode, self.message) {
            (Opcode::Continuation, Some(kind)) => kind,
            (Opcode::Text | Opcode::Binary, None) => frame.opcode,
            _ => return Err(invalid("frames of messages in each other")),
        };
        self.message = (!frame.last).then_some(kind);
        if kind == Opcode::Binary {
            return Ok(Some(Message::Binary(frame.payload)));
        }
        if frame.last && self.text.is_empty() {
            return Ok(Some(Message::Text(frame.payload)));
        }
        if self.text.len() + frame.payload.len() > MAX_PAYLOAD {
            return Err(invalid("a text of more than 16 MiB"));
        }
        self.text.extend_from_slice(&frame.payload);
        Ok(frame.last.then(|| Message::Text(self.text.split().freeze())))
    }

    /// Puts a pong into the buffer; an error here is met again by whoever writes.
    fn answer(&mut self, payload: Bytes) {
        let frame = Frame::whole(Opcode::Pong, payload);
        self.pong = Pin::new(&mut self.framed).start_send(frame).is_ok();
    }

    fn flush_pong(&mut self, cx: &mut Context<'_>) {
        if self.pong {
            let flushed = Sink::<Frame>::poll_flush(Pin::new(&mut self.framed), cx);
            self.pong = flushed.is_pending();
        }
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Sink::<Frame>::poll_ready(Pin::new(&mut self.framed), cx)
    }

    /// Puts `bytes` into the buffer as one binary frame; after [`WebSocket::poll_ready`].
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        Pin::new(&mut self.framed).start_send(Binary(bytes))
    }

    /// Puts the mark of a stream's end into the buffer; after [`WebSocket::poll_ready`].
    pub(crate) fn put_end(&mut self) -> io::Result<()> {
        Pin::new(&mut self.framed).start_send(Frame::whole(Opcode::Text, Bytes::new()))
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Sink::<Frame>::poll_flush(Pin::new(&mut self.framed), cx)
    }

    /// Sends a text at once.
    pub(crate) async fn send_text(&mut self, text: String) -> io::Result<()> {
        self.framed.send(Frame::whole(Opcode::Text, text.into())).await
    }

    /// Says that nothing follows.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_close(cx)).await
    }

    /// As [`WebSocket::close`], for those who poll.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            ready!(self.poll_ready(cx))?;
            Pin::new(&mut self.framed).start_send(Frame::whole(Opcode::Close, Bytes::new()))?;
            self.closed = true;
        }
        self.poll_flush(cx)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Opens a websocket (RFC 6455, 4.1).
pub(crate) async fn open(client: &Client, url: Url) -> Result<WebSocket> {
    let key = random_key()?;
    let mut call = Call::new(Method::GET, url)
        .header("sec-websocket-key", &key)?
        .header("sec-websocket-version", "13")?;
    call.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    call.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let name = call.name();
    let limit = client.core.settings.answer_limit;
    tokio::time::timeout(limit, upgrade(client, call, &key))
        .await
        .map_err(|_| Error::Timeout { call: name, after: limit })?
}

/// Opens the websocket `name` of an exec (`fds` in its metadata).
pub(crate) async fn open_of(operation: &Operation, name: &str) -> Result<WebSocket> {
    let secret = operation.metadata()["fds"][name]
        .as_str()
        .ok_or_else(|| Error::protocol("exec", format!("an exec without a stream `{name}`")))?;
    open(operation.client(), operation.websocket_url(secret)).await
}

async fn upgrade(client: &Client, call: Call, key: &str) -> Result<WebSocket> {
    let name = call.name();
    let response = client.stream(call).await?;
    check(&name, response.status(), response.headers(), key)?;
    let (head, body) = response.into_parts();
    let upgraded = body.upgrade(head).await.map_err(|error| Error::protocol(&name, error))?;
    let parts = upgraded
        .downcast::<TokioIo<Stream>>()
        .map_err(|_| Error::protocol(&name, "an upgrade of a connection that is not ours"))?;
    Ok(WebSocket::new(parts.io.into_inner(), &parts.read_buf))
}

fn check(call: &str, status: StatusCode, headers: &HeaderMap, key: &str) -> Result<()> {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::protocol(call, format!("{status} instead of a websocket")));
    }
    let accept = headers.get("sec-websocket-accept").map(HeaderValue::as_bytes);
    if accept != Some(accept_key(key).as_bytes()) {
        return Err(Error::protocol(call, "a websocket that does not answer to its key"));
    }
    Ok(())
}

fn random_key() -> Result<String> {
    let mut key = [0; 16];
    rand::fill(&mut key).map_err(|_| Error::invalid("random bytes", "there are none"))?;
    Ok(STANDARD.encode(key))
}

/// What a server must answer a key with: RFC 6455, 4.2.2.
fn accept_key(key: &str) -> String {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    STANDARD.encode(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_answered() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
