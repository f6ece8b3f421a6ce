//! What a command's handles share: the stream that it is reached over now, which is another after a
//! lost link was made anew, and the input that may have to be sent again then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use super::stdin::Unacknowledged;
use crate::conn::Stream;
use crate::proto::Control;
use crate::{LinkError, Violation, channel};

/// Signals and sizes that are kept for a link that is being made anew; more are not sent.
const MOST_CONTROLS: usize = 16;

/// See the module. It does not keep the stream open.
pub(super) struct Line {
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    stream: Weak<Stream>,
    /// Whether somebody makes a lost link anew.
    heals: bool,
    pub(super) sent: Unacknowledged,
    ended: bool,
    /// What was to be said while there was no link.
    controls: Vec<Control>,
    /// Who waits for the next stream, or for none to come any more.
    waiting: Vec<Waker>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    pub(super) fn new(stream: &Arc<Stream>, offset: u64) -> Arc<Self> {
        let state = State {
            stream: Arc::downgrade(stream),
            heals: false,
            sent: Unacknowledged::at(offset),
            ended: false,
            controls: Vec::new(),
            waiting: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// From now on a lost link is waited for, until [`close`](Self::close).
    pub(super) fn heal(&self) {
        lock(&self.state).heals = true;
    }

    /// Nothing is waited for any more.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.heals = false;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// Sends at most `most` bytes of input as `part` gives them, and says how many.
    pub(super) fn poll_put(
        &self,
        cx: &Context<'_>,
        most: usize,
        part: impl FnOnce(usize) -> Bytes,
    ) -> Poll<Result<usize, LinkError>> {
        let mut state = lock(&self.state);
        let stream = state.stream.upgrade().ok_or(LinkError::Closed)?;
        let room = match ready!(stream.poll_room(cx)) {
            Ok(room) => room.min(most),
            Err(LinkError::Lost { .. }) if state.heals => {
                if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.waiting.push(cx.waker().clone());
                }
                return Poll::Pending;
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        let bytes = part(room);
        state.sent.push(bytes.clone());
        stream.send_now(channel::MAIN, bytes, false);
        Poll::Ready(Ok(room))
    }

    /// Ends the input.
    pub(super) fn finish(&self) {
        let mut state = lock(&self.state);
        if !state.ended {
            state.ended = true;
            if let Some(stream) = state.stream.upgrade() {
                stream.finish(channel::MAIN);
            }
        }
    }

    /// The input has ended, which the agent was told with the request.
    pub(super) fn has_ended(&self) {
        lock(&self.state).ended = true;
    }

    /// Says something to the command; to one that is gone nothing.
    pub(super) fn say(&self, control: Control) {
        let mut state = lock(&self.state);
        let Some(stream) = state.stream.upgrade() else { return };
        if state.heals && stream.is_lost() {
            if state.controls.len() < MOST_CONTROLS {
                state.controls.push(control);
            }
            return;
        }
        stream.message(&control);
    }

    /// Goes on over another stream, whose agent has the input up to `offset`; `None` when it takes
    /// none any more.
    pub(super) fn go_on(&self, stream: &Arc<Stream>, offset: Option<u64>) -> Result<(), LinkError> {
        let mut state = lock(&self.state);
        if let Some(offset) = offset {
            let unknown = LinkError::Protocol(Violation::Malformed("offset of the input"));
            let mut missing = state.sent.after(offset).ok_or(unknown)?;
            while !missing.is_empty() {
                // What was under way over one stream has room in the next, unless the agent lies.
                let Some(room) = stream.room_now() else { return Err(LinkError::Closed) };
                let part = missing.split_to(room.min(missing.len()));
                stream.send_now(channel::MAIN, part, false);
            }
            if state.ended {
                stream.finish(channel::MAIN);
            }
        }
        for control in state.controls.drain(..) {
            stream.message(&control);
        }
        state.stream = Arc::downgrade(stream);
        state.waiting.drain(..).for_each(Waker::wake);
        Ok(())
    }
}
