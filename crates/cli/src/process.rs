//! A command that runs in a box, here or on a server, as a session sees it.

use boxherd_client::{Event, Resizer, Running, Stdin};
use boxherd_herd::Herd;
use boxherd_link::{Exec, ExecControl, ExecEvent, ExecStdin, ExitStatus, PtySize};
use boxherd_model::BoxId;
use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use crate::failure::Failure;

/// A command that runs. Dropped, it ends.
#[derive(Debug)]
pub(crate) enum Process {
    /// Over a link.
    Here(Box<Here>),
    /// Over the wire.
    There(Box<Running>),
}

/// A command that runs over a link, and where.
#[derive(Debug)]
pub(crate) struct Here {
    pub(crate) exec: Exec,
    pub(crate) herd: Herd,
    pub(crate) of: BoxId,
    pub(crate) name: String,
}

impl Here {
    async fn next(&mut self) -> Result<ExecEvent, Failure> {
        match self.exec.next().await {
            Ok(event) => Ok(event),
            Err(source) => Err(self.herd.why_lost(self.of, &self.name, source).await.into()),
        }
    }
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
            Self::Here(here) => here.next().await,
            Self::There(running) => Ok(match running.next().await? {
                Event::Stdout(bytes) => ExecEvent::Stdout(bytes),
                Event::Stderr(bytes) => ExecEvent::Stderr(bytes),
                Event::Exit(code) => ExecEvent::Exit(ExitStatus::Code(code)),
            }),
        }
    }

    pub(crate) fn input(&mut self) -> Option<Input> {
        match self {
            Self::Here(here) => here.exec.stdin().map(Input::Here),
            Self::There(running) => running.stdin().map(Input::There),
        }
    }

    pub(crate) fn control(&self) -> Control {
        match self {
            Self::Here(here) => Control::Here(here.exec.control()),
            Self::There(running) => Control::There(running.resizer()),
        }
    }

    /// Ends it if it has not, before this program does.
    pub(crate) async fn end(self) {
        match self {
            Self::Here(here) => drop(here),
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
