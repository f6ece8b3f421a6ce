//! One stream of a link.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::{HIGH_WATER, Handle, Inbound, lock, watch};
use crate::{LinkError, proto};

/// One stream of a link. Dropping it while it is not over resets it.
pub struct Stream {
    shared: Arc<Handle>,
    id: u32,
}

impl Stream {
    pub(super) fn new(shared: &Arc<Handle>, id: u32) -> Self {
        lock(&shared.state).waiting.entry(id).or_default();
        Self { shared: Arc::clone(shared), id }
    }

    /// The next thing that came. Data counts against the peer's credit until it is
    /// [released](Self::release). One task at a time may wait here.
    pub async fn recv(&self) -> Result<Inbound, LinkError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Like [`recv`](Self::recv), for hand-written futures.
    pub fn poll_recv(&self, cx: &Context<'_>) -> Poll<Result<Inbound, LinkError>> {
        let mut state = lock(&self.shared.state);
        if let Some(inbound) = state.mux.take(self.id) {
            // What a lost link left half-way is lost, and not a reset by the peer.
            return Poll::Ready(match (&inbound, &state.ended) {
                (Inbound::Reset, Some(error)) => Err(error.clone()),
                _ => Ok(inbound),
            });
        }
        if let Some(error) = &state.ended {
            return Poll::Ready(Err(error.clone()));
        }
        if let Some(waiting) = state.waiting.get_mut(&self.id) {
            waiting.recv = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// `cost` bytes were consumed.
    pub fn release(&self, cost: u32) {
        let output = {
            let mut state = lock(&self.shared.state);
            state.mux.release(self.id, cost);
            state.mux.has_output()
        };
        if output {
            self.shared.flush();
        }
    }

    /// Lets the peer have `more` bytes under way than it has now.
    pub fn grant(&self, more: u32) {
        lock(&self.shared.state).mux.grant(self.id, more);
        self.shared.flush();
    }

    /// See [`Conn::took`](super::Conn::took).
    pub fn took(&self, time: Duration) {
        self.shared.took(time);
    }

    /// What of a bulk transfer should be under way beyond a new stream's window, in bytes and at most
    /// `most`, by the shortest time that an answer took on this link.
    #[must_use]
    pub fn bulk_window(&self, most: u32) -> u32 {
        self.shared.bulk_window(most)
    }

    /// Waits until at least one byte may be sent, and says how many may be.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<usize, LinkError>> {
        let mut state = lock(&self.shared.state);
        if let Some(error) = &state.ended {
            return Poll::Ready(Err(error.clone()));
        }
        let Some(room) = state.mux.room(self.id) else {
            return Poll::Ready(Err(LinkError::Closed));
        };
        if room > 0 && state.mux.waiting() < HIGH_WATER {
            return Poll::Ready(Ok(room));
        }
        if room > 0 {
            watch(&mut state.watchers, cx);
        } else if let Some(waiting) = state.waiting.get_mut(&self.id) {
            watch(&mut waiting.send, cx);
        }
        Poll::Pending
    }

    /// How many bytes may be sent at once, if any may.
    #[must_use]
    pub fn room_now(&self) -> Option<usize> {
        let state = lock(&self.shared.state);
        state.mux.room(self.id).filter(|room| *room > 0 && state.ended.is_none())
    }

    /// Whether the link has ended.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        lock(&self.shared.state).ended.is_some()
    }

    /// What may still be sent, in bytes as data frames cost them; 0 when the stream is over.
    #[must_use]
    pub fn credit(&self) -> u32 {
        lock(&self.shared.state).mux.credit(self.id)
    }

    /// Like [`poll_room`](Self::poll_room). Fails with [`LinkError::Closed`] when the stream is
    /// over.
    pub async fn room(&self) -> Result<usize, LinkError> {
        poll_fn(|cx| self.poll_room(cx)).await
    }

    /// Sends bytes at once, no more than [`room`](Self::room) said, and says what they cost.
    pub fn send_now(&self, channel: u8, bytes: Bytes, fin: bool) -> u32 {
        let cost = lock(&self.shared.state).mux.send_data(self.id, channel, bytes, fin);
        self.shared.flush();
        cost
    }

    /// Sends bytes of any length, waiting for room as often as needed.
    pub async fn send(&self, channel: u8, mut bytes: Bytes) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let room = self.room().await?;
            let part = bytes.split_to(room.min(bytes.len()));
            self.send_now(channel, part, false);
        }
        Ok(())
    }

    /// Ends a channel.
    pub fn finish(&self, channel: u8) {
        self.send_now(channel, Bytes::new(), true);
    }

    /// Sends a control message.
    pub fn message(&self, message: &impl Message) {
        lock(&self.shared.state).mux.send_message(self.id, &message.encode_to_vec());
        self.shared.flush();
    }

    /// Gives the stream up, as dropping it does.
    pub fn reset(&self) {
        lock(&self.shared.state).mux.close(self.id);
        self.shared.flush();
    }

    /// Ends the stream with a last message. Agent only.
    pub fn end(&self, answer: proto::Answer) {
        let reply = proto::Reply { answer: Some(answer) }.encode_to_vec();
        lock(&self.shared.state).mux.end(self.id, &reply);
        self.shared.flush();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.mux.close(self.id);
        state.waiting.remove(&self.id);
        let output = state.mux.has_output();
        drop(state);
        if output {
            self.shared.flush();
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}
