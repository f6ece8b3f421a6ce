//! The store over any database that takes its SQL.

use std::collections::HashMap;

use async_trait::async_trait;
use boxherd_model::{
    BoxId, BoxName, Caller, EngineName, OperationId, SnapshotId, SnapshotInfo, SnapshotName,
    Timestamp,
};
use parking_lot::Mutex;

use crate::database::{Database, Query, Statement, Transaction};
use crate::leases::{box_of, guarded};
use crate::row::{Columns, text};
use crate::{
    BoxRecord, Durability, FencingToken, Held, Operation, Store, StoreError, boxes, operations,
};

/// The store over a database.
#[derive(Debug)]
pub struct SqlStore<D> {
    pub(crate) database: D,
    /// Leases that were taken over this handle and not given back, lost ones too.
    pub(crate) held: Mutex<HashMap<BoxId, FencingToken>>,
}

impl<D> SqlStore<D> {
    pub(crate) fn over(database: D) -> Self {
        Self { database, held: Mutex::default() }
    }
}

#[async_trait]
impl<D: Database> Store for SqlStore<D> {
    async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }

    async fn begin(&self, operation: &Operation, made: &[BoxRecord]) -> Result<(), StoreError> {
        let guards = self.guards(operation.boxes.iter().copied());
        let statements = operations::insert(operation).chain(made.iter().map(boxes::insert));
        let statements = guards.into_iter().chain(statements);
        let transaction = Transaction {
            step: "beginning an operation",
            durability: Durability::Process,
            statements: statements.collect(),
            makes_room: operations::makes_room(operation.kind),
        };
        self.database.write(transaction).await?;
        Ok(())
    }

    async fn finish(
        &self,
        operation: &Operation,
        changed: &[BoxRecord],
        removed: &[BoxId],
        durability: Durability,
    ) -> Result<Vec<BoxId>, StoreError> {
        let mut ids: Vec<_> = changed.iter().map(|record| record.id).collect();
        ids.sort_unstable();
        let guards = self.guards(ids.iter().chain(removed).copied());
        let before = guards.len();
        let changed = boxes::update_all(changed);
        let removed = removed.iter().copied().flat_map(boxes::remove);
        let statements = guards.into_iter().chain(changed).chain(removed);
        let statements = statements.chain(operations::end(operation));
        let done =
            self.database.all_at_last("finishing an operation", durability, statements.collect());
        let done = done.await?;
        let gone =
            ids.into_iter().zip(done.iter().skip(before)).filter(|(_, done)| done.changed == 0);
        Ok(gone.map(|(id, _)| id).collect())
    }

    async fn update(&self, changed: &[BoxRecord]) -> Result<(), StoreError> {
        let guards = self.guards(changed.iter().map(|record| record.id));
        let statements = guards.into_iter().chain(boxes::update_all(changed)).collect();
        self.database.all("changing boxes", Durability::Process, statements).await?;
        Ok(())
    }

    async fn correct(&self, found: &BoxRecord, truth: &BoxRecord) -> Result<bool, StoreError> {
        let mut statements = self.guards(std::iter::once(found.id));
        statements.push(boxes::correct(found, truth));
        let mut done =
            self.database.all("correcting a box", Durability::Process, statements).await?;
        Ok(done.pop().is_some_and(|done| done.changed > 0))
    }

    async fn box_by_id(&self, id: BoxId) -> Result<Option<BoxRecord>, StoreError> {
        self.database.one(boxes::by_id(id), boxes::to_box).await
    }

    async fn boxes_by_name(
        &self,
        caller: Caller,
        engine: Option<&EngineName>,
        name: &BoxName,
    ) -> Result<Vec<BoxRecord>, StoreError> {
        self.database.many(boxes::by_name(caller, engine, name), boxes::to_box).await
    }

    async fn boxes(&self) -> Result<Vec<BoxRecord>, StoreError> {
        self.database.many(boxes::all(), boxes::to_box).await
    }

    async fn holdings(&self) -> Result<Vec<Held>, StoreError> {
        self.database.many(boxes::held(), boxes::to_held).await
    }

    async fn doomed(&self) -> Result<Vec<BoxRecord>, StoreError> {
        self.database.many(boxes::doomed(), boxes::to_box).await
    }

    async fn unfinished(&self) -> Result<Vec<Operation>, StoreError> {
        self.database.many(operations::unfinished(), operations::to_operation).await
    }

    async fn by_key(&self, key: &str, since: Timestamp) -> Result<Option<Operation>, StoreError> {
        self.database.one(operations::by_key(key, since), operations::to_operation).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        self.database.one(operations::by_id(id), operations::to_operation).await
    }

    async fn add_snapshot(&self, snapshot: &SnapshotInfo) -> Result<(), StoreError> {
        guarded(self, Some(snapshot.box_id), boxes::insert_snapshot(snapshot)).await?;
        Ok(())
    }

    async fn snapshots(&self, id: BoxId) -> Result<Vec<SnapshotInfo>, StoreError> {
        self.database.many(boxes::snapshots(id), boxes::to_snapshot).await
    }

    async fn snapshot(
        &self,
        id: BoxId,
        name: &SnapshotName,
    ) -> Result<Option<SnapshotInfo>, StoreError> {
        self.database.one(boxes::snapshot(id, name), boxes::to_snapshot).await
    }

    async fn remove_snapshot(&self, id: SnapshotId) -> Result<(), StoreError> {
        let of = box_of(self, "SELECT box_id FROM snapshots WHERE id = ?1", text(id)).await?;
        let mut statements = self.guards(of.into_iter());
        statements.push(boxes::remove_snapshot(id));
        self.database.all_at_last("removing a snapshot", Durability::Disk, statements).await?;
        Ok(())
    }

    async fn fact(&self, key: &str) -> Result<Option<String>, StoreError> {
        let query = Query::new("SELECT value FROM facts WHERE key = ?1", [text(key)]);
        self.database.one(query, |row| Columns::from(row).text("value")).await
    }

    async fn set_fact(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO facts (key, value) VALUES (?1, ?2) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let statement = Statement::new("writing a fact", sql, [text(key), text(value)]);
        self.database.only(Durability::Process, statement).await?;
        Ok(())
    }
}
