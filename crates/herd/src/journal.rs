//! Operations: written down before their first side effect, ended with what came of them.

use boxherd_engine::fault;
use boxherd_model::{BoxId, OperationId};
use boxherd_store::{BoxRecord, Durability, Operation, OperationKind, Outcome, StoreError};

use crate::herd::status;
use crate::{Herd, HerdError};

/// The steps at which a test may kill this process (`boxherd_engine::fault`), besides the engine's
/// own: an operation is in the journal and nothing is done; everything is done and the journal does
/// not know; the journal knows.
pub const STEPS: &[&str] = &[
    "create.begun",
    "create.made",
    "create.done",
    "fork.begun",
    "fork.made",
    "fork.started",
    "fork.done",
    "change.begun",
    "change.made",
    "change.done",
    "rename.begun",
    "rename.made",
    "rename.done",
    "snapshot.begun",
    "snapshot.made",
    "snapshot.done",
    "restore.begun",
    "restore.made",
    "restore.done",
    "unsnapshot.begun",
    "unsnapshot.made",
    "unsnapshot.done",
    "delete.begun",
    "delete.made",
    "delete.done",
];

/// The first word of the steps of each kind of operation.
fn word(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Create => "create",
        OperationKind::Fork => "fork",
        OperationKind::Change => "change",
        OperationKind::Rename => "rename",
        OperationKind::TakeSnapshot(_) => "snapshot",
        OperationKind::RestoreSnapshot(_) => "restore",
        OperationKind::RemoveSnapshot(_) => "unsnapshot",
        OperationKind::Delete => "delete",
    }
}

/// An operation that is under way.
#[derive(Debug)]
pub(crate) struct Begun {
    operation: Operation,
}

impl Begun {
    pub(crate) fn id(&self) -> OperationId {
        self.operation.id
    }

    /// The side effects of the operation stand, and the journal does not know it yet.
    pub(crate) fn reached(&self, step: &str) {
        fault::point(&format!("{}.{step}", word(self.operation.kind)));
    }
}

impl Herd {
    /// Writes an operation down, together with the records of the boxes that it makes.
    pub(crate) async fn begin(
        &self,
        kind: OperationKind,
        boxes: Vec<BoxId>,
        key: Option<String>,
        made: &[BoxRecord],
    ) -> Result<Begun, HerdError> {
        let operation = Operation {
            id: OperationId::new(),
            kind,
            boxes,
            session: self.session()?,
            key,
            started: self.now(),
            outcome: None,
        };
        self.store.begin(&operation, made).await?;
        let begun = Begun { operation };
        begun.reached("begun");
        // Boxes of the host's own command line do without: `web_label` looks when somebody asks.
        for record in made.iter().filter(|record| record.owner.is_some()) {
            if let Err(error) = self.settle_label(record, &record.spec.name).await {
                let removed: Vec<_> = made.iter().map(|record| record.id).collect();
                self.end(begun, Outcome::Failed, &[], &removed).await?;
                return Err(error);
            }
        }
        Ok(begun)
    }

    /// Writes down how an operation ended, with what it changed and removed.
    pub(crate) async fn end(
        &self,
        begun: Begun,
        outcome: Outcome,
        changed: &[BoxRecord],
        removed: &[BoxId],
    ) -> Result<(), HerdError> {
        let durability = match begun.operation.kind {
            OperationKind::Create | OperationKind::Fork | OperationKind::Change => {
                Durability::Process
            }
            _ => Durability::Disk,
        };
        self.end_with(begun, outcome, changed, removed, durability).await
    }

    /// The same with a durability of the caller's choice.
    pub(crate) async fn end_with(
        &self,
        mut begun: Begun,
        outcome: Outcome,
        changed: &[BoxRecord],
        removed: &[BoxId],
        durability: Durability,
    ) -> Result<(), HerdError> {
        begun.operation.outcome = Some(outcome);
        self.routes.changed();
        let finished = self.store.finish(&begun.operation, changed, removed, durability).await;
        let gone = match finished {
            // The box is another server's to change. What was done to it before is seen by that one.
            Err(StoreError::Fenced(id)) => {
                begun.operation.outcome = Some(Outcome::Failed);
                self.store.finish(&begun.operation, &[], &[], durability).await?;
                return Err(StoreError::Fenced(id).into());
            }
            finished => finished?,
        };
        self.forwards.changed();
        let now = self.now();
        self.meters.saw(changed, now);
        self.meters.ended(removed, now);
        begun.reached("done");
        // Somebody deleted the box while it was being made.
        let mut told = Ok(());
        for record in changed {
            if gone.contains(&record.id) {
                if let Err(error) = self.engine_of(record)?.delete(record.id).await {
                    tracing::warn!(id = %record.id, %error, "a deleted box was not removed yet");
                }
                told = Err(HerdError::NoSuchBox(status(record.clone()).address()));
            }
        }
        told
    }

    /// Leaves an operation to recovery, which undoes it when it can.
    pub(crate) fn leave(&self, begun: &Begun) {
        self.left.lock().insert(begun.id());
    }

    /// Ends an operation of a session that died.
    pub(crate) async fn end_for_dead(
        &self,
        operation: Operation,
        outcome: Outcome,
        changed: &[BoxRecord],
        removed: &[BoxId],
    ) -> Result<(), HerdError> {
        self.end(Begun { operation }, outcome, changed, removed).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_listed() {
        let snapshot = boxherd_model::SnapshotId::new();
        for kind in [
            OperationKind::Create,
            OperationKind::Fork,
            OperationKind::Change,
            OperationKind::Rename,
            OperationKind::TakeSnapshot(snapshot),
            OperationKind::RestoreSnapshot(snapshot),
            OperationKind::RemoveSnapshot(snapshot),
            OperationKind::Delete,
        ] {
            for step in ["begun", "made", "done"] {
                let step = format!("{}.{step}", word(kind));
                assert!(STEPS.contains(&step.as_str()), "{step}");
            }
        }
    }
}
