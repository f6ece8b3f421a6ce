//! How long an answer is waited for: a request may take as long as it takes to come, as long as it
//! comes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::refusal::Refusal;

/// How long a program may be silent before it begins its answer, counted from the last byte of the
/// request.
const PATIENCE: Duration = Duration::from_secs(120);

/// When something of a request last went on.
#[derive(Debug, Clone)]
pub(crate) struct Patience(Arc<Mutex<Instant>>);

impl Patience {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// The body, which says when something of it goes on.
    pub(crate) fn watch(&self, body: Body) -> Body {
        match body.is_end_stream() {
            true => body,
            false => Body::new(Watched { body, patience: self.clone() }),
        }
    }

    /// What comes of `answered`, unless nothing goes on for too long.
    pub(crate) async fn with<T>(
        &self,
        answered: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            answered = answered => answered,
            () = self.over() => Err(Refusal::Silent(PATIENCE)),
        }
    }

    async fn over(&self) {
        loop {
            let until = *self.0.lock() + PATIENCE;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

struct Watched {
    body: Body,
    patience: Patience,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            *self.patience.0.lock() = Instant::now();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_borne_for_a_while_and_no_longer() {
        let begun = Instant::now();
        let refused = Patience::new().with(pending::<Result<(), _>>()).await.unwrap_err();
        assert!(matches!(refused, Refusal::Silent(PATIENCE)));
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_goes_on_is_waited_for() {
        let patience = Patience::new();
        // It takes twice as long as silence may, and something of it comes in between.
        let body = patience.watch(Body::from("a"));
        let slow = async {
            let mut body = body;
            tokio::time::sleep(PATIENCE * 2 / 3).await;
            poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
            tokio::time::sleep(PATIENCE * 2 / 3).await;
            Ok(())
        };
        patience.with(slow).await.unwrap();
    }
}
