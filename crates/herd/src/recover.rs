//! Finishing or undoing what dead processes began, and what this one has left.

use std::time::Duration;

use boxherd_engine::EngineError;
use boxherd_model::{BoxId, BoxState, EngineName};
use boxherd_store::{BoxRecord, Operation, OperationKind, Outcome};
use tokio::time::Instant;

use crate::lookup::engine_error;
use crate::reconcile::believe;
use crate::{Herd, HerdError};

/// How long whoever opens the store waits until other machines have removed what is left of others: one
/// that is busy or gone is not to keep anybody from the boxes elsewhere.
const LONGEST: Duration = Duration::from_secs(5);

impl Herd {
    /// Looks for operations and ephemeral boxes of sessions that are dead. Two look-ups when there
    /// are none.
    pub(crate) async fn recover(&self) -> Result<(), HerdError> {
        let (mut found, until) = (false, Instant::now() + LONGEST);
        for operation in self.store.unfinished().await? {
            let left = self.left.lock().contains(&operation.id);
            if !left && self.is_alive(&operation.session)? {
                continue;
            }
            // Another process may be recovering the same operation.
            let name = format!("recover-{}", operation.id);
            let held = crate::locks::try_hold(&self.config.locks, &name)
                .map_err(|error| crate::herd::lock_error(&self.config.locks, error))?;
            if held.is_none() {
                continue;
            }
            let still = self.store.operation(operation.id).await?;
            if still.is_none_or(|operation| operation.outcome.is_some()) {
                continue;
            }
            found = true;
            // What cannot be recovered now (an engine that does not answer) stays for the next time.
            let (id, kind) = (operation.id, operation.kind);
            let is_far = self.records(&operation.boxes).await?.iter().any(is_far);
            match in_time(is_far, until, self.recover_one(operation)).await {
                Some(Ok(())) => {
                    self.left.lock().remove(&id);
                }
                Some(Err(error)) => tracing::warn!(%id, ?kind, %error, "not recovered yet"),
                None => tracing::warn!(%id, ?kind, "not recovered yet: the engine takes too long"),
            }
        }
        self.remove_doomed(until).await?;
        if found {
            self.tidy().await;
        }
        Ok(())
    }

    /// Has every engine remove what belongs to no box. What cannot be removed now is found again.
    pub(crate) async fn tidy(&self) {
        for engine in self.engines.iter() {
            if let Err(error) = engine.tidy().await {
                tracing::warn!(engine = %engine.name(), %error, "not tidied");
            }
        }
    }

    async fn recover_one(&self, operation: Operation) -> Result<(), HerdError> {
        tracing::info!(id = %operation.id, kind = ?operation.kind, "recovering");
        let mut holds = Vec::new();
        for record in self.records(&operation.boxes).await? {
            let hold = self.try_lock(&record).await?;
            holds.push(hold.ok_or(HerdError::Busy { name: record.spec.name.to_string() })?);
        }
        match operation.kind {
            OperationKind::Create | OperationKind::Fork => {
                self.remove_all(operation, Outcome::RolledBack).await
            }
            OperationKind::Delete => self.remove_all(operation, Outcome::Finished).await,
            OperationKind::Change | OperationKind::Rename => self.settle(operation).await,
            OperationKind::TakeSnapshot(snapshot) | OperationKind::RemoveSnapshot(snapshot) => {
                for record in self.records(&operation.boxes).await? {
                    let Some(snapshots) = self.engine_of(&record)?.snapshots() else { continue };
                    let removed = snapshots.remove(record.id, snapshot).await;
                    removed
                        .map_err(|source| engine_error("remove a snapshot of", &record, source))?;
                }
                self.store.remove_snapshot(snapshot).await?;
                self.settle(operation).await
            }
            // The engine puts a disk back as a whole or not at all.
            OperationKind::RestoreSnapshot(_) => self.settle(operation).await,
        }
    }

    /// Removes the boxes of an operation from engine and store.
    async fn remove_all(&self, operation: Operation, outcome: Outcome) -> Result<(), HerdError> {
        for record in self.records(&operation.boxes).await? {
            let deleted = self.engine_of(&record)?.delete(record.id).await;
            deleted.map_err(|source| engine_error("delete", &record, source))?;
        }
        let removed = operation.boxes.clone();
        self.end_for_dead(operation, outcome, &[], &removed).await
    }

    /// Writes down where the boxes of an operation stand now, and gives each the name in its record.
    async fn settle(&self, operation: Operation) -> Result<(), HerdError> {
        let mut records = self.records(&operation.boxes).await?;
        for record in &mut records {
            let engine = self.engine_of(record)?;
            let truth = engine.inspect(record.id).await;
            let truth = truth.map_err(|source| engine_error("inspect", record, source))?;
            // Whoever was starting it is dead: what is true is settled.
            if matches!(record.state, BoxState::Pending | BoxState::Starting) {
                record.state = BoxState::Stopped;
            }
            if operation.kind == OperationKind::Rename && truth.is_some() {
                match engine.rename(record.id, &record.spec.name).await {
                    Ok(()) | Err(EngineError::NoSuchBox(_)) => {}
                    Err(source) => return Err(engine_error("rename", record, source)),
                }
            }
            if operation.kind == OperationKind::Change && truth.is_some() {
                // What is in the store counts. The next start tells whether that is so.
                if let Err(error) = engine.reshape(record.id, &record.spec).await {
                    tracing::warn!(id = %record.id, %error, "not told what the box is like");
                }
            }
            believe(record, truth.as_ref());
        }
        self.end_for_dead(operation, Outcome::Finished, &records, &[]).await
    }

    async fn records(&self, ids: &[BoxId]) -> Result<Vec<BoxRecord>, HerdError> {
        let mut found = Vec::new();
        for id in ids {
            found.extend(self.store.box_by_id(*id).await?);
        }
        Ok(found)
    }

    /// Boxes for one command whose maker died before it could delete them, and boxes whose delete
    /// could not be finished.
    async fn remove_doomed(&self, until: Instant) -> Result<(), HerdError> {
        for record in self.store.doomed().await? {
            let unfinished = record.state == BoxState::Deleting;
            let maker = record.maker.as_deref().unwrap_or_default();
            if !unfinished && self.is_alive(maker)? {
                continue;
            }
            let until = is_far(&record).then_some(until);
            if let Err(error) = self.delete_by(record, until).await {
                tracing::warn!(%error, "a box that has to go is still there");
            }
        }
        Ok(())
    }
}

/// Whether a box is on another machine, which may take as long as it likes.
fn is_far(record: &BoxRecord) -> bool {
    record.engine != EngineName::local()
}

/// Does something, but no longer than `until` where it is far away: `None` when it was not done then. What
/// was begun is looked at again by whoever opens the store next.
async fn in_time<T>(is_far: bool, until: Instant, work: impl Future<Output = T>) -> Option<T> {
    match is_far {
        true => tokio::time::timeout_at(until, work).await.ok(),
        false => Some(work.await),
    }
}
