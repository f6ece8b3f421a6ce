//! What happens to boxes by themselves when time passes.

use std::time::Duration;

use boxherd_model::{Address, BoxState, BoxStatus, Request, Timers, Timestamp};
use boxherd_store::BoxRecord;

use crate::activity::Use;
use crate::herd::{decide, status};
use crate::{Herd, HerdError};

/// How often a server looks at the clock and at its engines.
const LOOK: Duration = Duration::from_secs(2);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Suspend,
    Hibernate,
    Delete,
}

/// What is due for a box. Pure.
fn due(record: &BoxRecord, used: Use, now: Timestamp) -> Option<Due> {
    let timers = &record.spec.timers;
    let since = |from: Timestamp| u64::try_from(now.millis() - from.millis()).unwrap_or(0) / 1000;
    let too_old = timers.delete_after.is_some_and(|age| since(record.created) >= age);
    if too_old || timers.delete_at.is_some_and(|end| end <= now) {
        return Some(Due::Delete);
    }
    if used.open > 0 {
        return None;
    }
    let idle_for = |limit: Option<u32>| limit.is_some_and(|limit| since(used.last) >= limit.into());
    match record.state {
        BoxState::Running | BoxState::Suspended if idle_for(timers.hibernate_after_idle) => {
            Some(Due::Hibernate)
        }
        BoxState::Running if idle_for(timers.suspend_after_idle) => Some(Due::Suspend),
        _ => None,
    }
}

impl Herd {
    /// Changes what happens to a box by itself. The change is given the timers and the herd's time.
    pub async fn change_timers(
        &self,
        address: &Address,
        change: impl FnOnce(&mut Timers, Timestamp) + Send,
    ) -> Result<BoxStatus, HerdError> {
        let record = self.find(address).await?;
        let _held = self.lock(&record).await?;
        let mut record = self.find(address).await?;
        // What a label needs: any state but that of a box that is being deleted.
        decide(&record, Request::Label)?;
        change(&mut record.spec.timers, self.now());
        self.store.update(std::slice::from_ref(&record)).await?;
        Ok(status(record))
    }

    /// Does what is due, by the herd's own clock. One box that cannot be served keeps none of the
    /// others from it, and is tried again at the next look.
    pub async fn look_at_the_clock(&self) -> Result<(), HerdError> {
        let now = self.now();
        let records = self.store.boxes().await?;
        self.count_usage(&records, now).await;
        for record in records {
            let Some(due) = due(&record, self.activity.of(record.id, now), now) else { continue };
            let id = record.id;
            let address = status(record).address();
            tracing::info!(box_ = %address, ?due, "time is up");
            let done = match due {
                Due::Suspend => self.suspend(&address).await.map(drop),
                Due::Hibernate => self.hibernate(&address).await.map(drop),
                Due::Delete => self.delete(&address).await,
            };
            let done = match due {
                // Whoever began to use it meanwhile has found it running, and will not wake it.
                Due::Suspend | Due::Hibernate if done.is_ok() && !self.activity.doze(id) => {
                    self.resume(&address).await.map(drop)
                }
                _ => done,
            };
            if let Err(error) = done {
                tracing::warn!(%error, ?due, "not done, and tried again");
            }
        }
        Ok(())
    }

    /// Looks after boxes for as long as it is polled: repairs what differs from what is written
    /// down, and does what is due.
    pub async fn look_after_boxes(&self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.reconcile().await {
                Ok(repairs) if repairs == crate::Repairs::default() => {}
                Ok(repairs) => tracing::info!(?repairs, "repaired"),
                Err(error) => tracing::error!(%error, "boxes could not be looked after"),
            }
            if let Err(error) = self.run_packages().await {
                tracing::error!(%error, "packages to install could not be looked up");
            }
            if let Err(error) = self.look_at_the_clock().await {
                tracing::error!(%error, "what is due could not be looked up");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use boxherd_model::{BoxId, BoxSpec, EngineName, Timers};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn record(state: BoxState, timers: Timers) -> BoxRecord {
        let mut spec = BoxSpec::new("web".parse().unwrap());
        spec.timers = timers;
        BoxRecord {
            id: BoxId::new(),
            engine: EngineName::local(),
            owner: None,
            spec,
            state,
            reason: None,
            failure: None,
            created: at(0),
            maker: None,
            last_operation: None,
            details: Default::default(),
        }
    }

    const IDLE: Use = Use { open: 0, last: Timestamp::from_millis(100_000) };

    #[test]
    fn idle_boxes_are_suspended_and_used_ones_are_not() {
        let timers = Timers { suspend_after_idle: Some(30), ..Timers::default() };
        let running = record(BoxState::Running, timers.clone());
        assert_eq!(due(&running, IDLE, at(129)), None);
        assert_eq!(due(&running, IDLE, at(130)), Some(Due::Suspend));
        assert_eq!(due(&running, Use { open: 1, ..IDLE }, at(500)), None);
        assert_eq!(due(&record(BoxState::Suspended, timers.clone()), IDLE, at(500)), None);
        assert_eq!(due(&record(BoxState::Stopped, timers), IDLE, at(500)), None);
        assert_eq!(due(&record(BoxState::Running, Timers::default()), IDLE, at(500)), None);
    }

    #[test]
    fn what_is_suspended_is_hibernated_later() {
        let timers = Timers {
            suspend_after_idle: Some(30),
            hibernate_after_idle: Some(60),
            ..Timers::default()
        };
        assert_eq!(
            due(&record(BoxState::Running, timers.clone()), IDLE, at(140)),
            Some(Due::Suspend)
        );
        let suspended = record(BoxState::Suspended, timers);
        assert_eq!(due(&suspended, IDLE, at(140)), None);
        assert_eq!(due(&suspended, IDLE, at(160)), Some(Due::Hibernate));
    }

    #[test]
    fn the_end_comes_in_every_state_and_whatever_a_box_does() {
        let busy = Use { open: 3, last: at(1000) };
        for state in BoxState::ALL {
            let old = record(state, Timers { delete_after: Some(60), ..Timers::default() });
            assert_eq!(due(&old, busy, at(59)), None);
            assert_eq!(due(&old, busy, at(60)), Some(Due::Delete));
            let timed = record(state, Timers { delete_at: Some(at(70)), ..Timers::default() });
            assert_eq!(due(&timed, busy, at(69)), None);
            assert_eq!(due(&timed, busy, at(70)), Some(Due::Delete));
        }
    }

    #[test]
    fn a_clock_that_goes_back_ends_nothing() {
        let timers = Timers { suspend_after_idle: Some(1), ..Timers::default() };
        assert_eq!(due(&record(BoxState::Running, timers), IDLE, at(0)), None);
    }
}
