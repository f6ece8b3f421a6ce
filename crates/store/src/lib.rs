//! What the herd remembers: boxes, operations, snapshots; users, their keys and things; leases. The
//! only room that knows SQL.
//!
//! The store keeps intent and identity; what is true of a box is asked of its engine. Nothing here
//! decides anything: it writes down what it is told, in one transaction per call, and is safe to
//! use from several processes at once.
//!
//! Start reading at [`Store`], then `sql_store.rs`, which implements it once over anything that is a
//! `database.rs`, then [`sqlite`] and [`postgres`].

mod accounts;
mod accounts_sql;
mod boxes;
mod database;
mod error;
mod leases;
mod meters;
mod migrations;
mod operations;
pub mod postgres;
mod records;
mod reserve;
mod row;
mod shared_memory;
mod sql_store;
pub mod sqlite;
#[cfg(test)]
mod tests;
mod things;
mod things_sql;

pub use accounts::{
    Accounts, AuditEntry, KeyRecord, SigningKey, SshKeyRecord, TokenRecord, UserRecord,
};
pub use error::StoreError;
pub use leases::{FencingToken, Lease, Leases};
pub use meters::{Meters, UsageRecord};
pub use postgres::PostgresStore;
pub use records::{BoxRecord, Details, Held, Operation, OperationKind, Outcome};
pub use sql_store::SqlStore;
pub use sqlite::SqliteStore;
pub use things::{ThingKind, ThingRecord, Things};

use std::fmt;

use async_trait::async_trait;
use boxherd_model::{
    BoxId, BoxName, Caller, EngineName, OperationId, SnapshotId, SnapshotInfo, SnapshotName,
    Timestamp,
};

/// How much a write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives the death of every process of ours; a power cut may take the last moments. For
    /// boxes and their journal, which reconcile repairs.
    Process,
    /// On disk before the call returns. For what was acknowledged and cannot be found out again:
    /// renames, deletes, snapshots.
    Disk,
}

/// Remembers. Every call is one transaction: all of it happened, or none.
#[async_trait]
pub trait Store: Accounts + Things + Leases + Meters + fmt::Debug + Send + Sync {
    /// Whether it can be written to now, for those who watch. Waits no longer than a moment for
    /// others, and writes nothing down.
    async fn check(&self) -> Result<(), StoreError>;

    /// Writes an operation down together with the boxes it makes, before its first side effect.
    ///
    /// # Errors
    ///
    /// [`StoreError::NameTaken`] when a box of that name and owner lives on the engine,
    /// [`StoreError::KeyTaken`] when an operation with that idempotency key was written before.
    async fn begin(&self, operation: &Operation, made: &[BoxRecord]) -> Result<(), StoreError>;

    /// Writes how an operation ended, together with the boxes it changed and those it removed. Answers
    /// which of those it changed are gone; they stay gone.
    async fn finish(
        &self,
        operation: &Operation,
        changed: &[BoxRecord],
        removed: &[BoxId],
        durability: Durability,
    ) -> Result<Vec<BoxId>, StoreError>;

    /// Changes boxes outside of an operation. Records that are gone stay gone.
    async fn update(&self, changed: &[BoxRecord]) -> Result<(), StoreError>;

    /// Writes the state of a box, as it is in `truth`, where the box is still as it was `found`: in the
    /// same state, and last changed by the same operation. Says whether it was. For those who do not
    /// keep others from the box meanwhile.
    async fn correct(&self, found: &BoxRecord, truth: &BoxRecord) -> Result<bool, StoreError>;

    /// The box with that id.
    async fn box_by_id(&self, id: BoxId) -> Result<Option<BoxRecord>, StoreError>;

    /// The boxes of that name that `caller` sees, on the engine or on every engine.
    async fn boxes_by_name(
        &self,
        caller: Caller,
        engine: Option<&EngineName>,
        name: &BoxName,
    ) -> Result<Vec<BoxRecord>, StoreError>;

    /// Every box, by engine and name.
    async fn boxes(&self) -> Result<Vec<BoxRecord>, StoreError>;

    /// What every box takes. Asked before each new one, however many there are: what else is known of
    /// them is not read.
    async fn holdings(&self) -> Result<Vec<Held>, StoreError>;

    /// Boxes that may have to go: ephemeral ones, whose makers may be dead, and those whose delete
    /// could not be finished.
    async fn doomed(&self) -> Result<Vec<BoxRecord>, StoreError>;

    /// Operations that have not ended, oldest first.
    async fn unfinished(&self) -> Result<Vec<Operation>, StoreError>;

    /// The operation with that idempotency key, if it began after `since`.
    async fn by_key(&self, key: &str, since: Timestamp) -> Result<Option<Operation>, StoreError>;

    /// The operation with that id.
    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError>;

    /// Remembers a snapshot, on disk before it returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::SnapshotTaken`] when the box has one of that name.
    async fn add_snapshot(&self, snapshot: &SnapshotInfo) -> Result<(), StoreError>;

    /// The snapshots of a box, oldest first.
    async fn snapshots(&self, id: BoxId) -> Result<Vec<SnapshotInfo>, StoreError>;

    /// The snapshot of that name.
    async fn snapshot(
        &self,
        id: BoxId,
        name: &SnapshotName,
    ) -> Result<Option<SnapshotInfo>, StoreError>;

    /// Forgets a snapshot, on disk before it returns. Succeeds when there is none.
    async fn remove_snapshot(&self, id: SnapshotId) -> Result<(), StoreError>;

    /// A small fact, such as the boot id of the host that was last seen.
    async fn fact(&self, key: &str) -> Result<Option<String>, StoreError>;

    /// Remembers a small fact.
    async fn set_fact(&self, key: &str, value: &str) -> Result<(), StoreError>;
}
