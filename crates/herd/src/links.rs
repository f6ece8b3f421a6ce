//! Links to agents: kept while they hold, made once however many want one, and made anew for the
//! commands over one that was lost.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxherd_engine::EngineError;
use boxherd_link::{Link, LinkError, Relink};
use boxherd_model::policy::Decision;
use boxherd_model::{BoxId, Request};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::guest::no_link;
use crate::herd::decide;
use crate::{Herd, HerdError};

/// Before the second try for a link, and at most between two.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long a link is hoped for, however long its commands are kept.
const LONGEST: Duration = Duration::from_secs(3600);

/// The links of a herd, by box.
#[derive(Debug, Default)]
pub(crate) struct Links {
    made: Mutex<HashMap<BoxId, Link>>,
    turns: Mutex<HashMap<BoxId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Links {
    /// The link to a box, if there is one that holds.
    pub(crate) fn get(&self, id: BoxId) -> Option<Link> {
        let made = self.made.lock();
        let link = made.get(&id)?;
        link.closed().now_or_never().is_none().then(|| link.clone())
    }

    /// Waits until nobody else makes a link to that box. What there is then is to be looked at again.
    pub(crate) async fn turn(&self, id: BoxId) -> OwnedMutexGuard<()> {
        let turn = Arc::clone(self.turns.lock().entry(id).or_default());
        turn.lock_owned().await
    }

    /// Keeps a link; whether there was another, which was lost.
    pub(crate) fn put(&self, id: BoxId, link: Link) -> bool {
        self.made.lock().insert(id, link).is_some()
    }

    /// Lets go of the link to a box.
    pub(crate) fn remove(&self, id: BoxId) {
        self.turns.lock().remove(&id);
        // Says goodbye when it is the last one.
        drop(self.made.lock().remove(&id));
    }

    /// Every link, which are kept no more.
    pub(crate) fn drain(&self) -> Vec<Link> {
        self.turns.lock().clear();
        self.made.lock().drain().map(|(_, link)| link).collect()
    }
}

/// Makes the link to a box anew, for as long as its agent keeps the commands over the one that was lost.
pub(crate) struct Again {
    pub(crate) herd: Herd,
    pub(crate) id: BoxId,
    /// How long that is.
    pub(crate) kept: Duration,
}

impl Again {
    /// `None` when there is no hope for a link.
    async fn attempt(&self) -> Option<Result<Link, HerdError>> {
        let record = match self.herd.store.box_by_id(self.id).await {
            Ok(record) => record?,
            Err(error) => return Some(Err(error.into())),
        };
        // One that was frozen, or its memory saved, is not woken for what ran in it.
        if !matches!(decide(&record, Request::Use), Ok(Decision::Proceed)) {
            return None;
        }
        match self.herd.link_of(record).await {
            // It counts as there once somebody answers.
            Ok((record, link)) => match link.agent().await {
                Ok(_) => Some(Ok(link)),
                Err(source) => Some(Err(no_link(&record, source))),
            },
            Err(HerdError::Engine { source: EngineError::NoSuchBox(_), .. }) => None,
            Err(error @ (HerdError::Engine { .. } | HerdError::Link { .. })) => Some(Err(error)),
            // It does not run any more.
            Err(_) => None,
        }
    }

    async fn since(&self, lost_at: Instant, tries: u32) -> Result<Link, LinkError> {
        let patience = self.kept.min(LONGEST);
        for tries in tries.. {
            let wait = pause(tries);
            if lost_at.elapsed() + wait > patience {
                break;
            }
            tokio::time::sleep(wait).await;
            match self.attempt().await {
                Some(Ok(link)) => return Ok(link),
                Some(Err(error)) => tracing::debug!(id = %self.id, %error, "no link yet"),
                None => break,
            }
        }
        Err(LinkError::Closed)
    }
}

impl Relink for Again {
    fn relink(
        &self,
        lost_at: Instant,
        tries: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Link, LinkError>> + Send + '_>> {
        Box::pin(self.since(lost_at, tries))
    }
}

/// Before a try for a link: none before the first, then twice as long each time.
fn pause(tries: u32) -> Duration {
    let (first, longest) = WAITS;
    match tries {
        0 => Duration::ZERO,
        tries => first.saturating_mul(1 << (tries - 1).min(16)).min(longest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_tried_for_at_once_and_then_seldom() {
        let pauses: Vec<_> = [0, 1, 2, 3, 7, u32::MAX].map(|tries| pause(tries).as_millis()).into();
        assert_eq!(pauses, [0, 50, 100, 200, 2000, 2000]);
    }
}
