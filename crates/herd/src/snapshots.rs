//! Saved disks.

use std::sync::Arc;
use std::time::Duration;

use boxherd_engine::{Engine, EngineError, Snapshots};
use boxherd_model::{
    Address, BoxState, BoxStatus, Capability, Request, SnapshotId, SnapshotInfo, SnapshotName,
};
use boxherd_store::{BoxRecord, OperationKind, Outcome, StoreError};

use crate::herd::{decide, status};
use crate::lookup::engine_error;
use crate::{Herd, HerdError};

impl Herd {
    /// Saves the disk of a box under a name. On disk when this returns.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn take_snapshot(
        &self,
        address: &Address,
        name: &SnapshotName,
    ) -> Result<SnapshotInfo, HerdError> {
        let record = self.find(address).await?;
        let _held = self.lock(&record).await?;
        let mut record = self.find(address).await?;
        self.look(&mut record).await?;
        decide(&record, Request::Snapshot)?;
        if self.store.snapshot(record.id, name).await?.is_some() {
            return Err(StoreError::SnapshotTaken { name: name.to_string() }.into());
        }
        let engine = Arc::clone(self.engine_of(&record)?);
        let snapshots = keeper(&engine, &record)?;
        let id = SnapshotId::new();
        let info = SnapshotInfo { id, name: name.clone(), box_id: record.id, created: self.now() };
        let kind = OperationKind::TakeSnapshot(id);
        let begun = self.begin(kind, vec![record.id], None, &[]).await?;
        let taken = snapshots.take(record.id, id).await;
        begun.reached("made");
        if let Err(source) = taken {
            let error = engine_error("snapshot", &record, source);
            // It may be there all the same, or half of it.
            match snapshots.remove(record.id, id).await {
                Ok(()) => self.end(begun, Outcome::Failed, &[], &[]).await?,
                Err(error) => {
                    tracing::warn!(%id, %error, "a snapshot may be left, and is removed later");
                    self.leave(&begun);
                }
            }
            return Err(error);
        }
        self.store.add_snapshot(&info).await?;
        self.end(begun, Outcome::Done, &[], &[]).await?;
        Ok(info)
    }

    /// The snapshots of a box, oldest first.
    pub async fn snapshots(&self, address: &Address) -> Result<Vec<SnapshotInfo>, HerdError> {
        let record = self.find(address).await?;
        Ok(self.store.snapshots(record.id).await?)
    }

    /// Puts the disk of a stopped box back to a snapshot.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn restore_snapshot(
        &self,
        address: &Address,
        name: &SnapshotName,
    ) -> Result<BoxStatus, HerdError> {
        let record = self.find(address).await?;
        let _held = self.lock(&record).await?;
        let mut record = self.find(address).await?;
        self.look(&mut record).await?;
        decide(&record, Request::Restore)?;
        let snapshot = self.named(&record, name).await?;
        let engine = Arc::clone(self.engine_of(&record)?);
        let kind = OperationKind::RestoreSnapshot(snapshot.id);
        let begun = self.begin(kind, vec![record.id], None, &[]).await?;
        let restored = keeper(&engine, &record)?.restore(record.id, snapshot.id).await;
        begun.reached("made");
        self.ended(begun, "restore", &record, restored).await?;
        Ok(status(record))
    }

    /// Puts the disk of a box back to a snapshot, whatever its state: one that has processes is
    /// stopped, and started again afterwards.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn go_back(
        &self,
        address: &Address,
        name: &SnapshotName,
        grace: Duration,
    ) -> Result<BoxStatus, HerdError> {
        let record = self.find(address).await?;
        // Nothing is stopped for a snapshot that is not there.
        self.named(&record, name).await?;
        let by_id = status(record).address();
        let ran = !matches!(self.show(&by_id).await?.state, BoxState::Stopped);
        if ran {
            self.stop(&by_id, grace).await?;
        }
        let back = self.restore_snapshot(&by_id, name).await;
        if ran {
            // As it was before, whether the disk could be put back or not.
            self.start(&by_id).await?;
        }
        back?;
        self.show(&by_id).await
    }

    /// Removes a snapshot.
    #[tracing::instrument(skip_all, fields(%address))]
    pub async fn remove_snapshot(
        &self,
        address: &Address,
        name: &SnapshotName,
    ) -> Result<(), HerdError> {
        let record = self.find(address).await?;
        let _held = self.lock(&record).await?;
        let snapshot = self.named(&record, name).await?;
        let engine = Arc::clone(self.engine_of(&record)?);
        let kind = OperationKind::RemoveSnapshot(snapshot.id);
        let begun = self.begin(kind, vec![record.id], None, &[]).await?;
        let removed = keeper(&engine, &record)?.remove(record.id, snapshot.id).await;
        begun.reached("made");
        if removed.is_ok() {
            self.store.remove_snapshot(snapshot.id).await?;
        }
        self.ended(begun, "remove a snapshot of", &record, removed).await
    }

    async fn ended(
        &self,
        begun: crate::journal::Begun,
        op: &'static str,
        record: &BoxRecord,
        result: Result<(), EngineError>,
    ) -> Result<(), HerdError> {
        let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
        self.end(begun, outcome, &[], &[]).await?;
        result.map_err(|source| engine_error(op, record, source))
    }

    async fn named(
        &self,
        record: &BoxRecord,
        name: &SnapshotName,
    ) -> Result<SnapshotInfo, HerdError> {
        let found = self.store.snapshot(record.id, name).await?;
        found.ok_or_else(|| HerdError::NoSuchSnapshot {
            of: record.spec.name.to_string(),
            name: name.to_string(),
        })
    }
}

fn keeper<'e>(
    engine: &'e Arc<dyn Engine>,
    record: &BoxRecord,
) -> Result<&'e dyn Snapshots, HerdError> {
    engine.snapshots().ok_or_else(|| {
        engine_error("snapshot", record, engine.unsupported("snapshot", Capability::Snapshot))
    })
}
