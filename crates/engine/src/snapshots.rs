//! Saved disks.

use std::fmt;

use async_trait::async_trait;
use boxherd_model::{BoxId, SnapshotId};

use crate::EngineError;

/// Keeps and restores disks of boxes. The herd keeps the names; the engine knows ids.
#[async_trait]
pub trait Snapshots: fmt::Debug + Send + Sync {
    /// Saves the disk of a box, running or not. On disk when it returns.
    async fn take(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError>;

    /// Puts the disk of a stopped box back to the snapshot. Either all of it is back or none.
    async fn restore(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError>;

    /// Removes a snapshot. Succeeds when there is none. A box's snapshots go with the box.
    async fn remove(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError>;

    /// The snapshots of a box that are whole.
    async fn list(&self, id: BoxId) -> Result<Vec<SnapshotId>, EngineError>;
}
