//! The tasks in which hyper works, such that one that sends a request's body can be ended.
//!
//! A call whose answer has begun is taken back when both halves of its stream are dropped. Hyper (1.12)
//! keeps the half that sends in a task of its own, which waits for room and for nothing else once the
//! other side reads no more, so that a call with too much input would last as long as its connection.

use std::future::Future;
use std::sync::Arc;

use hyper::rt::Executor;
use tokio::sync::Notify;

tokio::task_local! {
    /// The task that polls, where it is one of [`Tasks`].
    static CURRENT: Arc<Notify>;
}

/// Runs hyper's tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tasks;

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        let end = Arc::new(Notify::new());
        let ended = Arc::clone(&end);
        tokio::spawn(CURRENT.scope(end, async move {
            tokio::select! {
                _ = task => {}
                () = ended.notified() => {}
            }
        }));
    }
}

/// A task that sends a body.
#[derive(Debug, Clone)]
pub(crate) struct Sending(Arc<Notify>);

impl Sending {
    /// The one that is asking for more now, if it can be ended: the first time, it is the connection
    /// that asks.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(|end| Self(Arc::clone(end))).ok()
    }

    /// Ends it with its half of the stream.
    pub(crate) fn end(&self) {
        self.0.notify_one();
    }
}
