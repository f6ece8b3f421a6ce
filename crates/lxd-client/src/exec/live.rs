//! A command with its three streams live, each a websocket of its own.
//!
//! Binary frames are data; an empty text frame ends a stream, in both directions. A fourth
//! websocket takes signals; when it closes, the server kills the command.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use crate::error::{Error, Result};
use crate::exec::{ExecRequest, Wire};
use crate::instances::Instance;
use crate::operations::Operation;
use crate::websocket::{self, WebSocket};

/// The largest frame that is sent.
const FRAME: usize = 64 << 10;

/// A running command with its streams. Whoever drops [`LiveExec::signals`] kills the command.
#[derive(Debug)]
pub struct LiveExec {
    /// Its standard input; shutting it down is its end.
    pub stdin: Stdin,
    /// Its standard output.
    pub stdout: Output,
    /// Its standard error.
    pub stderr: Output,
    /// Signals for it.
    pub signals: Signals,
    /// The operation that it is for the server.
    pub operation: Operation,
}

impl Instance {
    /// Starts a command and connects its streams.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] when the instance does not run, and whatever a call may fail with. A
    /// program that is not there is told by [`LiveExec::wait`].
    pub async fn exec(&self, request: &ExecRequest) -> Result<LiveExec> {
        let wire = Wire::live(request);
        let operation = self.client().start_json(Method::POST, self.url(["exec"]), &wire).await?;
        let open = |name| websocket::open_of(&operation, name);
        let (stdin, stdout, stderr, control) =
            tokio::try_join!(open("0"), open("1"), open("2"), open("control"))?;
        Ok(LiveExec {
            stdin: Stdin { socket: stdin, closed: false },
            stdout: Output::new(stdout),
            stderr: Output::new(stderr),
            signals: Signals::new(control),
            operation,
        })
    }
}

impl LiveExec {
    /// Waits for the end of the command, and returns its exit code as the server tells it: 128 and
    /// the signal's number for one that was killed, 127 for a program that is not there.
    ///
    /// # Errors
    ///
    /// Whatever awaiting an operation may fail with.
    pub fn wait(&self) -> impl Future<Output = Result<i32>> + Send + 'static {
        let operation = self.operation.clone();
        async move { exit_code(&operation.wait().await?) }
    }
}

/// The exit code in what an exec came to.
pub(super) fn exit_code(metadata: &Value) -> Result<i32> {
    metadata["return"]
        .as_i64()
        .and_then(|code| i32::try_from(code).ok())
        .ok_or_else(|| Error::protocol("exec", "an exec that ended without an exit code"))
}

/// The standard input of a command.
#[derive(Debug)]
pub struct Stdin {
    socket: WebSocket,
    closed: bool,
}

impl Stdin {
    /// Answers pings and notices a close. What the server sends otherwise is not meant for anybody.
    pub(super) fn poll_pings(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(Ok(_))) = self.socket.poll_next_unpin(cx) {}
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(into_io)?;
        let taken = buf.len().min(FRAME);
        let frame = Message::Binary(Bytes::copy_from_slice(&buf[..taken]));
        Pin::new(&mut self.socket).start_send(frame).map_err(into_io)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(into_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(into_io)?;
            let end = Message::Text(Utf8Bytes::from_static(""));
            Pin::new(&mut self.socket).start_send(end).map_err(into_io)?;
            self.closed = true;
        }
        self.poll_flush(cx)
    }
}

/// What a command writes.
#[derive(Debug)]
pub struct Output {
    socket: WebSocket,
    chunk: Bytes,
    ended: bool,
}

impl Output {
    fn new(socket: WebSocket) -> Self {
        Self { socket, chunk: Bytes::new(), ended: false }
    }

    /// The next piece as it came, without a copy; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the connection broke before the end.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// As [`Output::chunk`], for those who poll.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.chunk.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.chunk))));
        }
        while !self.ended {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(data))) if data.is_empty() => {}
                Some(Ok(Message::Binary(data))) => return Poll::Ready(Ok(Some(data))),
                Some(Ok(Message::Text(_) | Message::Close(_))) => self.ended = true,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut data) = ready!(self.poll_chunk(cx))? {
            let taken = data.len().min(buf.remaining());
            buf.put_slice(&data[..taken]);
            data.advance(taken);
            self.chunk = data;
        }
        Poll::Ready(Ok(()))
    }
}

/// Signals for a command. Dropped, it kills the command.
#[derive(Debug)]
pub struct Signals {
    commands: mpsc::Sender<Message>,
}

impl Signals {
    pub(super) fn new(socket: WebSocket) -> Self {
        let (commands, queue) = mpsc::channel(16);
        tokio::spawn(control(socket, queue));
        Self { commands }
    }

    /// Sends a signal, by its number.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] when the connection is gone.
    pub async fn send(&self, signal: i32) -> Result<()> {
        self.command(json!({"command": "signal", "signal": signal})).await
    }

    pub(super) async fn command(&self, command: Value) -> Result<()> {
        let sent = self.commands.send(Message::text(command.to_string())).await;
        sent.map_err(|_| Error::Broken {
            endpoint: "exec".to_owned(),
            call: "control".to_owned(),
            source: io::ErrorKind::BrokenPipe.into(),
        })
    }
}

/// Sends commands and answers pings until nobody can send any more, or the server closes.
async fn control(mut socket: WebSocket, mut queue: mpsc::Receiver<Message>) {
    loop {
        tokio::select! {
            command = queue.recv() => match command {
                Some(command) => {
                    if let Err(error) = socket.send(command).await {
                        tracing::debug!(%error, "control socket");
                        return;
                    }
                }
                None => break,
            },
            frame = socket.next() => match frame {
                Some(Ok(_)) => {}
                // The command is over.
                Some(Err(_)) | None => return,
            },
        }
    }
    if let Err(error) = socket.close(None).await {
        tracing::debug!(%error, "control socket");
    }
}

/// The end of a connection in terms of I/O.
fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            io::ErrorKind::BrokenPipe.into()
        }
        other => io::Error::other(other),
    }
}
