//! A command that runs in a box, here or on a server, as a session sees it.

use boxherd_client::{Event, Resizer, Running, Stdin};
use boxherd_link::{Exec, ExecControl, ExecEvent, ExecStdin, ExitStatus, PtySize};
use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use crate::failure::Failure;

/// A command that runs. Dropped, it ends.
#[derive(Debug)]
pub(crate) enum Process {
    /// Over a link.
    Here(Exec),
    /// Over the wire.
    There(Box<Running>),
}

/// Its input. Ended when dropped.
#[derive(Debug)]
pub(crate) enum Input {
    Here(ExecStdin),
    There(Stdin),
}

/// What is done to it besides.
#[derive(Debug)]
pub(crate) enum Control {
    Here(ExecControl),
    There(Resizer),
}

impl Process {
    pub(crate) async fn next(&mut self) -> Result<ExecEvent, Failure> {
        match self {
            Self::Here(exec) => Ok(exec.next().await?),
            Self::There(running) => Ok(match running.next().await? {
                Event::Stdout(bytes) => ExecEvent::Stdout(bytes),
                Event::Stderr(bytes) => ExecEvent::Stderr(bytes),
                Event::Exit(code) => ExecEvent::Exit(ExitStatus::Code(code)),
            }),
        }
    }

    pub(crate) fn input(&mut self) -> Option<Input> {
        match self {
            Self::Here(exec) => exec.stdin().map(Input::Here),
            Self::There(running) => running.stdin().map(Input::There),
        }
    }

    pub(crate) fn control(&self) -> Control {
        match self {
            Self::Here(exec) => Control::Here(exec.control()),
            Self::There(running) => Control::There(running.resizer()),
        }
    }

    /// Ends it if it has not, before this program does.
    pub(crate) async fn end(self) {
        match self {
            Self::Here(exec) => drop(exec),
            Self::There(running) => running.end().await,
        }
    }

    /// Whether nobody but us ends it when its time is up.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self, Self::There(_))
    }
}

impl Input {
    /// `false` when the command takes no more.
    pub(crate) async fn send(&mut self, bytes: Bytes) -> bool {
        match self {
            Self::Here(stdin) => stdin.send(bytes).await.is_ok(),
            Self::There(stdin) => stdin.send(bytes).await.is_ok(),
        }
    }

    pub(crate) async fn end(self) {
        match self {
            // A command that reads no more, or has ended, says so by its exit.
            Self::Here(mut stdin) => drop(stdin.shutdown().await),
            Self::There(stdin) => stdin.close(),
        }
    }
}

impl Control {
    pub(crate) async fn resize(&self, size: PtySize) {
        match self {
            Self::Here(control) => control.resize(size),
            Self::There(resizer) => {
                let size = boxherd_client::PtySize { rows: size.rows, cols: size.cols };
                // One that takes no more input has no use for a size.
                let _taken = resizer.resize(size).await;
            }
        }
    }
}
