//! A command on a terminal of its own: one stream in both directions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::Result;
use crate::exec::live::{FRAME, Signals, exit_code};
use crate::exec::{ExecRequest, Wire};
use crate::instances::Instance;
use crate::operations::Operation;
use crate::websocket::{self, Message, Pong, WebSocket};

/// The terminal of a running command. Dropping it hangs the command up.
///
/// Reading ends when the command does; what a command wrote right before, LXD may lose when it is
/// busy (seen with 5.0.2: its end of the stream comes without them). Shutting it down only flushes: a terminal's input ends by
/// what is typed (`^D`).
#[derive(Debug)]
pub struct Terminal {
    socket: WebSocket,
    chunk: Bytes,
    ended: bool,
    signals: Signals,
    operation: Operation,
}

impl Instance {
    /// Starts a command on a new terminal of `columns` and `rows`.
    ///
    /// # Errors
    ///
    /// As [`Instance::exec`].
    pub async fn exec_terminal(
        &self,
        request: &ExecRequest,
        columns: u16,
        rows: u16,
    ) -> Result<Terminal> {
        let wire = Wire::terminal(request, columns, rows);
        let operation = self.start_exec(&wire).await?;
        let (socket, signals) =
            tokio::try_join!(websocket::open_of(&operation, "0"), Signals::connect(&operation),)?;
        Ok(Terminal { socket, chunk: Bytes::new(), ended: false, signals, operation })
    }
}

impl Terminal {
    /// Tells the command that its terminal has another size.
    ///
    /// # Errors
    ///
    /// As [`Signals::send`].
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        self.signals.resize(columns, rows).await
    }

    /// Signals for the command.
    #[must_use]
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Waits for the end of the command, and returns its exit code as [`crate::LiveExec::wait`].
    ///
    /// # Errors
    ///
    /// Whatever awaiting an operation may fail with.
    pub fn wait(&self) -> impl Future<Output = Result<i32>> + Send + 'static {
        let operation = self.operation.clone();
        async move { exit_code(&operation.wait().await?) }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        while self.chunk.is_empty() && !self.ended {
            // Another task may be writing: it is the one to send pongs.
            match ready!(self.socket.poll_message(cx, Pong::WithNextWrite))? {
                Some(Message::Binary(data)) => self.chunk = data,
                Some(Message::Ping) => {}
                Some(Message::Text(_) | Message::Close) => self.ended = true,
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        if self.ended && self.chunk.is_empty() {
            // The server waits for it. It may have gone first, which is as good.
            drop(ready!(self.socket.poll_close(cx)));
        }
        Poll::Ready(Ok(std::mem::take(&mut self.chunk)))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut data = ready!(self.poll_chunk(cx))?;
        let taken = data.len().min(buf.remaining());
        buf.put_slice(&data[..taken]);
        data.advance(taken);
        self.chunk = data;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = buf.len().min(FRAME);
        ready!(self.socket.poll_ready(cx))?;
        self.socket.put(&buf[..taken])?;
        match self.socket.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
