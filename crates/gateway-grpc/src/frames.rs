//! What a client sends after the first message of a stream.

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

/// The messages, read by a task. One that cannot be read, or is too large, is told to whoever answers the call: the task
/// ends, and the client would wait for an answer to what was never understood.
#[derive(Debug)]
pub(crate) struct Frames<T> {
    frames: Streaming<T>,
    /// What was looked at before it was asked for.
    ahead: Option<Result<Option<T>, Status>>,
    unreadable: mpsc::Sender<Status>,
}

/// Hears of a message that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable(mpsc::Receiver<Status>);

impl<T> Frames<T> {
    pub(crate) fn new(frames: Streaming<T>) -> (Self, Unreadable) {
        let (unreadable, hears) = mpsc::channel(1);
        (Self { frames, ahead: None, unreadable }, Unreadable(hears))
    }

    /// Whether the client is known to have ended its side by now, as one does that says all at once.
    pub(crate) fn are_over(&mut self) -> bool {
        if self.ahead.is_none() {
            self.ahead = self.frames.message().now_or_never();
        }
        matches!(self.ahead, Some(Ok(None)))
    }

    pub(crate) async fn message(&mut self) -> Result<Option<T>, Status> {
        let told = match self.ahead.take() {
            Some(told) => told,
            None => self.frames.message().await,
        };
        if let Err(status) = &told
            && matches!(status.code(), Code::InvalidArgument | Code::OutOfRange)
        {
            // Who no longer listens has answered already; who has one to tell needs no other.
            drop(self.unreadable.try_send(status.clone()));
        }
        told
    }
}

impl Unreadable {
    /// Of the first, or nothing when no more messages come.
    pub(crate) async fn heard(&mut self) -> Option<Status> {
        self.0.recv().await
    }
}
