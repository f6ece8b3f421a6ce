//! Whether an operation still gets anywhere.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::operations::OperationInfo;

/// One long poll at most; the server answers earlier when the operation ends.
const POLL: Duration = Duration::from_secs(60);

/// An operation as it was seen last, and when it was not yet so.
#[derive(Debug)]
pub(crate) struct Progress {
    seen: Option<(String, Value)>,
    since: Instant,
    patience: Option<Duration>,
}

impl Progress {
    /// Nothing was seen yet. Without a `patience` it may take for ever.
    pub(crate) fn new(patience: Option<Duration>) -> Self {
        Self { seen: None, since: Instant::now(), patience }
    }

    /// What the server says of it now.
    pub(crate) fn see(&mut self, info: &OperationInfo) {
        let now = (info.updated_at.clone(), info.metadata.clone());
        if self.seen.as_ref() != Some(&now) {
            // The first look tells how far it is, and not that it got there just now.
            if self.seen.replace(now).is_some() {
                self.since = Instant::now();
            }
        }
    }

    /// How long nothing was seen to change, when that is too long.
    pub(crate) fn stalled(&self) -> Option<Duration> {
        self.patience.filter(|patience| self.since.elapsed() >= *patience)
    }

    /// How long to wait until the next look.
    pub(crate) fn next(&self) -> Duration {
        match self.patience {
            None => POLL,
            Some(patience) => POLL.min(patience.saturating_sub(self.since.elapsed())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(updated_at: &str) -> OperationInfo {
        let text = format!(r#"{{ "id": "u", "status_code": 103, "updated_at": "{updated_at}" }}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_silence_is_too_long() {
        let second = Duration::from_secs(1);
        let mut progress = Progress::new(Some(100 * second));
        progress.see(&info("a"));
        for step in ["b", "c", "d"] {
            tokio::time::advance(99 * second).await;
            assert_eq!(progress.stalled(), None);
            assert_eq!(progress.next(), second);
            progress.see(&info(step));
            assert_eq!(progress.next(), POLL);
        }
        tokio::time::advance(99 * second).await;
        progress.see(&info("d"));
        tokio::time::advance(second).await;
        assert_eq!(progress.stalled(), Some(100 * second));
        assert_eq!(progress.next(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn commands_may_be_silent_for_days() {
        let progress = Progress::new(None);
        tokio::time::advance(Duration::from_secs(999_999)).await;
        assert_eq!((progress.stalled(), progress.next()), (None, POLL));
    }
}
