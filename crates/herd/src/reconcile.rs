//! Making the store agree with what is true.

use std::collections::BTreeSet;

use boxherd_engine::{Survey, Truth, TruthState};
use boxherd_model::{BoxId, BoxState, RestartPolicy, StopReason};
use boxherd_store::{BoxRecord, OperationKind, Outcome};

use crate::lookup::engine_error;
use crate::{Herd, HerdError};

/// The boot id of the host when a herd last looked.
const BOOT_ID: &str = "boot-id";
/// The failure of a box of which the engine knows nothing.
const VANISHED: &str = "the engine has nothing of it any more";

/// What [`Herd::reconcile`] repaired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Boxes whose state was not what was written down.
    pub corrected: Vec<BoxId>,
    /// What an engine had of boxes that nobody knows, and was removed.
    pub orphans: Vec<BoxId>,
    /// Boxes that were started because their restart policy says so.
    pub restarted: Vec<BoxId>,
}

impl Herd {
    /// Compares every engine with the store and repairs what differs. An engine that does not
    /// answer is left for the next time.
    pub async fn reconcile(&self) -> Result<Repairs, HerdError> {
        self.recover().await?;
        let mut repairs = Repairs::default();
        for engine in self.engines.iter() {
            let mut records = self.store.boxes().await?;
            records.retain(|record| record.engine == *engine.name());
            let Ok(Survey { truths, lost }) = engine.survey().await else { continue };
            // Read again: what was made in between is in the store before it is on the engine. And what
            // was deleted in between was known before.
            let now = self.store.boxes().await?;
            let known: BTreeSet<_> = now.iter().chain(&records).map(|record| record.id).collect();
            for orphan in truths.iter().filter(|truth| !known.contains(&truth.id)) {
                match engine.delete(orphan.id).await {
                    Ok(()) => repairs.orphans.push(orphan.id),
                    Err(error) => tracing::warn!(id = %orphan.id, %error, "an orphan stays"),
                }
            }
            for mut record in records {
                let truth = truths.iter().find(|truth| truth.id == record.id);
                // It may be where nobody can look just now.
                if truth.is_none() && !lost.is_empty() {
                    continue;
                }
                if self.correct_beside(&mut record, truth).await? {
                    repairs.corrected.push(record.id);
                }
            }
        }
        self.tidy().await;
        self.metrics.repaired(&repairs);
        Ok(repairs)
    }

    /// After the host was restarted: boxes with the restart policy `always` start again, the others
    /// are stopped. One look-up when it was not.
    pub(crate) async fn after_reboot(&self) -> Result<(), HerdError> {
        let seen = self.store.fact(BOOT_ID).await?;
        if seen.as_ref() == Some(&self.config.boot_id) {
            return Ok(());
        }
        if seen.is_some() {
            self.reconcile().await?;
            self.start_again().await?;
        }
        self.store.set_fact(BOOT_ID, &self.config.boot_id).await?;
        Ok(())
    }

    async fn start_again(&self) -> Result<(), HerdError> {
        for record in self.store.boxes().await? {
            // Another process that starts it again is as good.
            let Some(_hold) = self.try_lock(&record).await? else { continue };
            let Some(mut record) = self.store.box_by_id(record.id).await? else { continue };
            let rebooted = record.reason == Some(StopReason::HostReboot);
            if !rebooted || record.spec.restart != RestartPolicy::Always {
                continue;
            }
            let engine = self.engine_of(&record)?;
            let begun = self.begin(OperationKind::Change, vec![record.id], None, &[]).await?;
            // One box that cannot start keeps none of the others from it.
            let outcome = match self.boot(engine, &mut record).await {
                Ok(()) => Outcome::Done,
                Err(source) => {
                    let error = engine_error("start", &record, source);
                    tracing::warn!(%error, "not started again");
                    record.state = BoxState::Stopped;
                    record.reason = Some(StopReason::HostReboot);
                    record.failure = Some(chain(&error));
                    Outcome::Failed
                }
            };
            self.end(begun, outcome, &[record], &[]).await?;
        }
        Ok(())
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Takes what the engine sees for the state of a box, unless an operation is making, starting or
/// deleting it at this moment. Says whether anything was news.
pub(crate) fn believe(record: &mut BoxRecord, truth: Option<&Truth>) -> bool {
    let settled = match record.state {
        BoxState::Pending | BoxState::Starting | BoxState::Deleting | BoxState::Gone => false,
        BoxState::Running
        | BoxState::Suspended
        | BoxState::Hibernated
        | BoxState::Stopped
        | BoxState::Failed => true,
    };
    if !settled {
        return false;
    }
    let (state, reason, failure) = match truth.map(|truth| truth.state) {
        None => (BoxState::Failed, None, Some(VANISHED.to_owned())),
        Some(TruthState::Partial) => (BoxState::Failed, None, record.failure.clone()),
        Some(TruthState::Running) => (BoxState::Running, None, None),
        Some(TruthState::Suspended) => (BoxState::Suspended, None, None),
        Some(TruthState::Hibernated) => (BoxState::Hibernated, None, None),
        // A box that failed to start is stopped to the engine, and failed to its owner.
        Some(TruthState::Stopped(_)) if record.state == BoxState::Failed => return false,
        Some(TruthState::Stopped(reason)) => {
            (BoxState::Stopped, Some(reason), record.failure.clone())
        }
    };
    let location = truth.and_then(|truth| truth.location.as_ref());
    let moved = location.is_some() && record.details.location.as_ref() != location;
    if moved {
        record.details.location = location.cloned();
    }
    let news = record.state != state || record.reason != reason || moved;
    if news {
        record.state = state;
        record.reason = reason;
        record.failure = failure;
    }
    news
}
