//! Disks of their own, which boxes mount while they run.

use std::fmt;

use async_trait::async_trait;
use boxherd_model::{BoxId, ByteSize, DiskId, DiskMount};

use crate::EngineError;

/// Makes disks and mounts them in boxes. The herd keeps names and owners; what is attached where,
/// the engine alone keeps.
///
/// A disk is attached to one box at a time. It stays attached while the box is stopped, and is
/// mounted again at the next start; deleting the box detaches it. Copies of the box do not have it.
/// As of every mutation, the herd makes one call at a time for a box; calls about the same disk and
/// different boxes may run at once, and one of them wins.
#[async_trait]
pub trait Disks: fmt::Debug + Send + Sync {
    /// Makes an empty disk. Called once per id; what a call has left that failed or was cut off,
    /// [`remove`](Self::remove) takes away.
    async fn make(&self, disk: DiskId, size: ByteSize) -> Result<(), EngineError>;

    /// Removes a disk with all that is on it. Succeeds when there is none;
    /// [`EngineError::DiskInUse`] while it is attached.
    async fn remove(&self, disk: DiskId) -> Result<(), EngineError>;

    /// Attaches a disk to a box, and mounts it at once when the box has processes. Folders that are
    /// not there are made, by the box's root and within the box's own files. Succeeds when just that
    /// was done already; [`EngineError::DiskInUse`] when the disk is attached in any other way,
    /// [`EngineError::MountPath`] when nothing can be mounted there. When it fails, nothing is
    /// attached.
    async fn attach(&self, id: BoxId, mount: &DiskMount) -> Result<(), EngineError>;

    /// Detaches a disk from a box. What was written is on it when this returns. Succeeds when it is
    /// not attached to that box; [`EngineError::DiskInUse`] while a process of the box uses it, and
    /// then it stays attached.
    async fn detach(&self, id: BoxId, disk: DiskId) -> Result<(), EngineError>;

    /// Every disk that is whole, in the order of ids.
    async fn list(&self) -> Result<Vec<DiskTruth>, EngineError>;
}

/// What is true of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskTruth {
    /// Which disk.
    pub id: DiskId,
    /// Which box has it, and how.
    pub attached: Option<(BoxId, DiskMount)>,
}
