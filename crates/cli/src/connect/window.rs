//! Credit: how much of one request may be on its way, in either direction, so that one that stands
//! still fills no memory and holds up no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::answer::{Answers, Refusal};

/// How many bytes may be on their way, in each direction of each request.
pub(super) const WINDOW: u32 = 1 << 20;

/// What we may send before the client has said that it used some.
#[derive(Debug, Clone)]
pub(super) struct Outgoing(Arc<Semaphore>);

impl Outgoing {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(WINDOW as usize)))
    }

    /// Waits until `bytes` may be sent, which are less than the window.
    pub(super) async fn take(&self, bytes: usize) -> Result<(), Refusal> {
        let bytes = u32::try_from(bytes).unwrap_or(WINDOW).min(WINDOW);
        let closed = |_| Refusal::new("internal", "the request has ended");
        self.0.acquire_many(bytes).await.map_err(closed)?.forget();
        Ok(())
    }

    /// The client has used `bytes`.
    pub(super) fn give(&self, bytes: u32) -> Result<(), Refusal> {
        if self.0.available_permits() + bytes as usize > WINDOW as usize {
            let message = format!("a credit of {bytes} bytes is more than was sent");
            return Err(Refusal::new("window", message));
        }
        self.0.add_permits(bytes as usize);
        Ok(())
    }
}

/// What the client may send before we have said that we used some.
#[derive(Debug, Clone, Default)]
pub(super) struct Incoming(Arc<AtomicU64>);

impl Incoming {
    /// That much has arrived.
    pub(super) fn arrived(&self, bytes: usize) -> Result<(), Refusal> {
        let waiting = self.0.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if waiting > u64::from(WINDOW) {
            let message = format!("more than {WINDOW} bytes were sent without credit");
            return Err(Refusal::new("window", message));
        }
        Ok(())
    }

    /// That much was used, which the client is told.
    pub(super) fn used(&self, id: u64, bytes: usize, answers: &Answers) {
        self.0.fetch_sub(bytes as u64, Ordering::Relaxed);
        answers.event(id, "credit", serde_json::json!({ "bytes": bytes }));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_full_window_waits_for_credit() {
        let window = Outgoing::new();
        window.take(WINDOW as usize).now_or_never().unwrap().unwrap();
        assert!(window.take(1).now_or_never().is_none());
        window.give(10).unwrap();
        window.take(10).now_or_never().unwrap().unwrap();
        assert!(window.take(1).now_or_never().is_none());
    }

    #[test]
    fn nobody_gives_more_than_was_sent() {
        let window = Outgoing::new();
        assert!(window.give(1).is_err());
        window.take(5).now_or_never().unwrap().unwrap();
        assert!(window.give(6).is_err());
        window.give(5).unwrap();
    }

    #[test]
    fn input_beyond_the_window_is_refused() {
        let window = Incoming::default();
        window.arrived(WINDOW as usize).unwrap();
        assert!(window.arrived(1).is_err());
    }
}
