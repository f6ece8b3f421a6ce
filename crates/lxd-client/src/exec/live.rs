//! A command with its three streams live, each a websocket of its own.
//!
//! Binary frames are data; an empty text frame ends a stream, in both directions. A fourth
//! websocket takes signals; when it closes, the server kills the command.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::exec::{ExecRequest, Wire};
use crate::instances::Instance;
use crate::operations::Operation;
use crate::websocket::{self, Message, Pong, WebSocket};

/// The largest frame that is sent.
pub(super) const FRAME: usize = 64 << 10;

/// A running command with its streams. Whoever drops [`LiveExec::signals`] kills the command; whoever
/// does not read an output stops it, once the buffers in between are full.
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
        let operation = self.start_exec(&Wire::live(request)).await?;
        // The command starts when its streams are there, and not before there is who ends it.
        let signals = Signals::connect(&operation).await?;
        let (stdin, stdout, stderr) = streams(&operation).await?;
        Ok(LiveExec { stdin, stdout, stderr, signals, operation })
    }

    /// As [`Instance::exec`], with a round trip less. LXD does not wait for [`LiveExec::signals`]: where
    /// the command is over at the very moment that they are connected, LXD may wait until they are
    /// dropped before it says so (5.0.2), and [`LiveExec::wait`] with it.
    ///
    /// # Errors
    ///
    /// As [`Instance::exec`].
    pub async fn exec_at_once(&self, request: &ExecRequest) -> Result<LiveExec> {
        let operation = self.start_exec(&Wire::live(request)).await?;
        let (signals, (stdin, stdout, stderr)) =
            tokio::try_join!(Signals::connect(&operation), streams(&operation))?;
        Ok(LiveExec { stdin, stdout, stderr, signals, operation })
    }
}

async fn streams(operation: &Operation) -> Result<(Stdin, Output, Output)> {
    let open = |name| websocket::open_of(operation, name);
    let (stdin, stdout, stderr) = tokio::try_join!(open("0"), open("1"), open("2"))?;
    let stdin = Stdin { socket: stdin, closed: false, over: false };
    Ok((stdin, Output::new(stdout), Output::new(stderr)))
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
    /// Whether nothing more can be read from its socket.
    over: bool,
}

impl Stdin {
    /// Answers pings and notices a close. What the server sends otherwise is not meant for anybody.
    pub(super) fn poll_pings(&mut self, cx: &mut Context<'_>) {
        if !self.over {
            while let Poll::Ready(message) = self.socket.poll_message(cx, Pong::WithNextWrite) {
                // Its end is met by whoever writes.
                if !matches!(message, Ok(Some(_))) {
                    self.over = true;
                    return;
                }
            }
        }
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
        ready!(self.socket.poll_ready(cx))?;
        let taken = buf.len().min(FRAME);
        self.socket.put(&buf[..taken])?;
        // What does not fit into the connection now, is flushed later.
        match self.socket.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            ready!(self.socket.poll_ready(cx))?;
            self.socket.put_end()?;
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
            match ready!(self.socket.poll_message(cx, Pong::Now))? {
                Some(Message::Binary(data)) if data.is_empty() => {}
                Some(Message::Ping) => {}
                Some(Message::Binary(data)) => return Poll::Ready(Ok(Some(data))),
                Some(Message::Text(_) | Message::Close) => self.ended = true,
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

/// Signals for a command. When the last one is dropped, the command is killed.
#[derive(Clone, Debug)]
pub struct Signals {
    commands: mpsc::Sender<Value>,
}

impl Signals {
    /// Connects to the control of a command. One that is over before is not failed for it.
    pub(super) async fn connect(operation: &Operation) -> Result<Self> {
        let (commands, queue) = mpsc::channel(16);
        match websocket::open_of(operation, "control").await {
            Ok(socket) => drop(tokio::spawn(control(socket, queue))),
            Err(Error::Server { .. } | Error::BadRequest { .. } | Error::NotFound { .. })
                if operation.is_over().await? => {}
            Err(error) => return Err(error),
        }
        Ok(Self { commands })
    }

    /// Sends a signal, by its number.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] when the connection is gone.
    pub async fn send(&self, signal: i32) -> Result<()> {
        self.command(json!({"command": "signal", "signal": signal})).await
    }

    /// Tells a command on a terminal that it has another size.
    ///
    /// # Errors
    ///
    /// As [`Signals::send`].
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let size = json!({ "width": columns.to_string(), "height": rows.to_string() });
        self.command(json!({ "command": "window-resize", "args": size })).await
    }

    async fn command(&self, command: Value) -> Result<()> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| Error::Broken {
            endpoint: "exec".to_owned(),
            call: "control".to_owned(),
            source: io::ErrorKind::BrokenPipe.into(),
        })
    }
}

/// Sends commands and answers pings until nobody can send any more, or the server closes.
async fn control(mut socket: WebSocket, mut queue: mpsc::Receiver<Value>) {
    loop {
        tokio::select! {
            command = queue.recv() => match command {
                Some(command) => {
                    if let Err(error) = socket.send_text(command.to_string()).await {
                        tracing::debug!(%error, "control socket");
                        return;
                    }
                }
                None => break,
            },
            message = socket.message() => match message {
                Ok(Some(Message::Binary(_) | Message::Text(_) | Message::Ping)) => {}
                // The command is over.
                Ok(Some(Message::Close) | None) | Err(_) => return,
            },
        }
    }
    if let Err(error) = socket.close().await {
        tracing::debug!(%error, "control socket");
    }
}
