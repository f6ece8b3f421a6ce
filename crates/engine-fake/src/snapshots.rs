//! Saved disks: copies of the folder.

use std::sync::Arc;

use async_trait::async_trait;
use boxherd_engine::{EngineError, Snapshots, TruthState};
use boxherd_model::{BoxId, SnapshotId};

use crate::world::blocking;
use crate::{FakeEngine, disk};

#[async_trait]
impl Snapshots for FakeEngine {
    async fn take(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.pass(id)?;
        self.faults().reach("snapshot.take").await?;
        self.world.state(id, "snapshot")?;
        self.faults().reach("snapshot.take.copy").await?;
        let (world, to) = (Arc::clone(&self.world), self.world.snapshot(id, snapshot));
        blocking("copy the disk", move || world.copy_disk(id, &to)).await?;
        self.world.entry(id)?.snapshots.insert(snapshot);
        self.faults().reach("snapshot.take.end").await
    }

    async fn restore(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.pass(id)?;
        self.faults().reach("snapshot.restore").await?;
        if !matches!(self.world.state(id, "restore")?, TruthState::Stopped(_)) {
            return Err(EngineError::WrongState { op: "restore", found: "not stopped" });
        }
        if !self.world.entry(id)?.snapshots.contains(&snapshot) {
            return Err(EngineError::refused("find the snapshot", "there is none of that id"));
        }
        let (from, disk) = (self.world.snapshot(id, snapshot), self.world.disk(id));
        let (beside, old) = (disk.with_extension("new"), disk.with_extension("old"));
        let made = beside.clone();
        blocking("copy the snapshot", move || {
            disk::remove(&made)?;
            disk::copy(&from, &made)
        })
        .await?;
        self.faults().reach("snapshot.restore.swap").await?;
        blocking("swap the disk", move || {
            std::fs::rename(&disk, &old)?;
            std::fs::rename(&beside, &disk)?;
            disk::remove(&old)
        })
        .await?;
        self.faults().reach("snapshot.restore.end").await
    }

    async fn remove(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.pass(id)?;
        self.faults().reach("snapshot.remove").await?;
        self.world.entry(id)?.snapshots.remove(&snapshot);
        let tree = self.world.snapshot(id, snapshot);
        blocking("remove the snapshot", move || disk::remove(&tree)).await
    }

    async fn list(&self, id: BoxId) -> Result<Vec<SnapshotId>, EngineError> {
        self.faults().reach("snapshot.list").await?;
        Ok(self.world.entry(id)?.snapshots.iter().copied().collect())
    }
}
