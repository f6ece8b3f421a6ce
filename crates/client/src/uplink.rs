//! What a client sends in a call that goes both ways.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::{Stream, stream};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::sending::Sending;

/// Messages that wait to be sent.
const WAITING: usize = 4;

/// Our half of a call, which ends when this is dropped: without, the call would not be taken back.
#[derive(Debug)]
pub(crate) struct Open {
    _closed: oneshot::Sender<()>,
    sending: Arc<Mutex<Option<Sending>>>,
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
    let (open, closed) = oneshot::channel();
    let sending: Arc<Mutex<Option<Sending>>> = Arc::default();
    let handle = Open { _closed: open, sending: Arc::clone(&sending) };
    let state = (Some(first), input, closed, sending);
    let frames = stream::unfold(state, |(first, mut input, mut closed, sending)| async {
        if let Some(first) = first {
            return Some((first, (None, input, closed, sending)));
        }
        let next = poll_fn(|cx| {
            *sending.lock() = Sending::current();
            if Pin::new(&mut closed).poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            input.poll_recv(cx)
        });
        let next = next.await?;
        Some((next, (None, input, closed, sending)))
    });
    (sender, handle, frames)
}
