//! What a client sends in a call that goes both ways.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, stream};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::sending::Sending;

/// Messages that wait to be sent.
pub(crate) const WAITING: usize = 4;

/// Our half of the stream, which ends when this is dropped: without, the call would not be taken back.
#[derive(Debug)]
pub(crate) struct Open {
    _closed: oneshot::Sender<()>,
    sending: Arc<Mutex<Option<Sending>>>,
}

/// What tells whoever sends that [`Open`] was dropped.
pub(crate) struct Closed {
    closed: oneshot::Receiver<()>,
    sending: Arc<Mutex<Option<Sending>>>,
}

impl Open {
    pub(crate) fn new() -> (Self, Closed) {
        let (open, closed) = oneshot::channel();
        let sending = Arc::default();
        let closed = Closed { closed, sending: Arc::clone(&sending) };
        (Self { _closed: open, sending }, closed)
    }
}

impl Closed {
    /// Whether the half is to end. To be asked whenever there is something to send.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        *self.sending.lock() = Sending::current();
        Pin::new(&mut self.closed).poll(cx).is_ready()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // It may be waiting for room, and not for us.
        if let Some(sending) = self.sending.lock().take() {
            sending.end();
        }
    }
}

/// A stream of `first` and then of what is put into the other end, until there is no more or the call is
/// taken back.
pub(crate) fn uplink<T: Send + 'static>(
    first: T,
) -> (mpsc::Sender<T>, Open, impl Stream<Item = T> + Send + 'static) {
    let (sender, input) = mpsc::channel(WAITING);
    let (open, closed) = Open::new();
    let state = (Some(first), input, closed);
    let frames = stream::unfold(state, |(first, mut input, mut closed)| async {
        if let Some(first) = first {
            return Some((first, (None, input, closed)));
        }
        let next = poll_fn(|cx| match closed.poll(cx) {
            true => Poll::Ready(None),
            false => input.poll_recv(cx),
        });
        let next = next.await?;
        Some((next, (None, input, closed)))
    });
    (sender, open, frames)
}
