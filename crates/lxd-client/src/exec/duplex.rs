//! Standard input and output of one command as one stream of bytes.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

use crate::exec::live::{LiveExec, Output, Signals, Stdin};
use crate::operations::Operation;

/// What is kept of standard error: its last bytes.
const STDERR_KEPT: usize = 8 << 10;

/// A stream of bytes to a command: written is its standard input, read is its standard output.
///
/// * Reading ends when the command closes its standard output, and fails when the connection ends
///   before.
/// * Shutting it down closes the command's standard input; reading goes on.
/// * Dropping it kills the command.
/// * What is written may wait for a flush when the connection is slow, as with any buffered writer.
#[derive(Debug)]
pub struct Duplex {
    stdin: Stdin,
    stdout: Output,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    reader: JoinHandle<()>,
    signals: Signals,
    operation: Operation,
}

impl LiveExec {
    /// Makes it one stream. The end of standard error is kept for [`Duplex::stderr`].
    #[must_use]
    pub fn into_duplex(self) -> Duplex {
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let reader = tokio::spawn(keep_end(self.stderr, Arc::clone(&stderr)));
        Duplex {
            stdin: self.stdin,
            stdout: self.stdout,
            stderr,
            reader,
            signals: self.signals,
            operation: self.operation,
        }
    }
}

impl Duplex {
    /// The last bytes that the command wrote to standard error so far, at most 8 KiB.
    #[must_use]
    pub fn stderr(&self) -> Vec<u8> {
        self.stderr.lock().iter().copied().collect()
    }

    /// Signals for the command.
    #[must_use]
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// The operation that the command is for the server.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.operation
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn keep_end(mut output: Output, kept: Arc<Mutex<VecDeque<u8>>>) {
    // Broken or over: what there is, is kept.
    while let Ok(Some(chunk)) = output.chunk().await {
        let mut kept = kept.lock();
        kept.extend(&chunk[chunk.len().saturating_sub(STDERR_KEPT)..]);
        let surplus = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..surplus);
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stdin.poll_pings(cx);
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}
