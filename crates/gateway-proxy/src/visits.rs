//! Boxes that were found awake a moment ago.
//!
//! Whether a box is suspended is in the store, and to look there for each request costs as much as the
//! rest of it. What this process does to boxes is known at once; that another suspended a box may
//! be missed for a moment, and is found out while the answer is waited for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use boxherd_herd::{Herd, HerdError};
use boxherd_link::Link;
use boxherd_model::BoxId;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a box is taken to be awake.
const HOLDS: Duration = Duration::from_millis(50);
/// When a box is looked at first that does not answer; each time after it, twice as long goes by.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// At most so long.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// Boxes that are kept; more, and all are forgotten.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Visits(Mutex<HashMap<BoxId, Visit>>);

#[derive(Debug)]
struct Visit {
    link: Link,
    /// Of the herd's ways, when it was made: every operation is a new one.
    version: u64,
    made: Instant,
}

impl Visits {
    /// A link to a box that is awake, or is woken.
    pub(crate) async fn link(&self, herd: &Herd, of: BoxId) -> Result<Link, HerdError> {
        let version = herd.routes_version();
        if let Some(link) = self.kept(of, version) {
            return Ok(link);
        }
        let made = Instant::now();
        let link = herd.visit(of).await?;
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(of, Visit { link: link.clone(), version, made });
        Ok(link)
    }

    fn kept(&self, of: BoxId, version: u64) -> Option<Link> {
        let all = self.0.lock();
        let visit = all.get(&of).filter(|visit| visit.version == version)?;
        let good = visit.made.elapsed() < HOLDS && visit.link.closed().now_or_never().is_none();
        good.then(|| visit.link.clone())
    }
}

/// Wakes a box that was suspended while its answer is waited for.
pub(crate) async fn keep_looking(herd: &Herd, of: BoxId) -> Infallible {
    let mut pause = FIRST_LOOK;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_LOOK);
        // That it was stopped is seen by the end of its connections.
        if let Err(error) = herd.visit(of).await {
            tracing::debug!(%of, %error, "a box that is to answer cannot be visited");
        }
    }
}
