//! The store in one SQLite file, in WAL mode.
//!
//! Calls take some ten microseconds and run on the caller's thread behind a mutex: handing them to
//! another thread would cost more than they do. A database that another process holds is waited
//! for, at most [`BUSY`].

mod migrations;
mod reserve;
mod rows;
mod shared_memory;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use boxherd_model::{
    BoxId, BoxName, BoxState, EngineName, OperationId, SnapshotId, SnapshotInfo, SnapshotName,
    Timestamp,
};
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, Transaction, TransactionBehavior};

use crate::{BoxRecord, Durability, Operation, OperationKind, Store, StoreError};
use reserve::Reserve;
use rows::{BOX_COLUMNS, OPERATION_COLUMNS, SNAPSHOT_COLUMNS, Values};

/// How long another process's transaction is waited for.
pub const BUSY: Duration = Duration::from_secs(10);
/// Pages of the write-ahead log after which it is written back: half a megabyte.
const LOG_PAGES: u32 = 128;
/// Operations that ended longer ago than this are forgotten, in milliseconds: a week.
const KEPT: i64 = 7 * 24 * 3600 * 1000;

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Mutex<Connection>,
    reserve: Reserve,
}

impl SqliteStore {
    /// Opens the file, makes it when it is not there, and brings it up to date.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooNew`] when a later release wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let reserve = Reserve::of(path);
        let connection = match connect(path) {
            Err(StoreError::Full) if reserve.release() => connect(path)?,
            result => result?,
        };
        reserve.keep();
        Ok(Self { connection: Mutex::new(connection), reserve })
    }

    /// One transaction; `step` names it in errors.
    fn write<T>(
        &self,
        step: &'static str,
        durability: Durability,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = |source| StoreError::of(step, source);
        let mut connection = self.connection.lock();
        if durability == Durability::Disk {
            connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        }
        let result = (|| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            let value = body(&transaction)?;
            transaction.commit().map_err(failed)?;
            Ok(value)
        })();
        if durability == Durability::Disk {
            connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        }
        result
    }

    /// The same for what makes room, or ends what was begun: with space that was put by for it, where
    /// no other is left.
    fn write_at_last<T>(
        &self,
        step: &'static str,
        durability: Durability,
        body: impl Fn(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.write(step, durability, &body) {
            Err(StoreError::Full) if self.reserve.release() => self.write(step, durability, body),
            result => result,
        }
    }

    fn many<T>(
        &self,
        sql: &str,
        parameters: &[&dyn ToSql],
        to: fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let failed = |source| StoreError::of("reading the store", source);
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query(parameters).map_err(failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            found.push(to(row)?);
        }
        Ok(found)
    }

    fn one<T>(
        &self,
        sql: &str,
        parameters: &[&dyn ToSql],
        to: fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.many(sql, parameters, to)?.pop())
    }
}

/// Opens the file and brings it up to date.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::of("opening the store", source);
    shared_memory::make(path);
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    // In WAL mode NORMAL does not sync on commit; `Durability::Disk` raises it for a moment.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    // Closing the last connection would sync, and remove the log that the next command makes
    // again. A log that stays is read whole when it is opened, so it is kept short.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(failed)?;
    migrations::migrate(&mut connection, path)?;
    Ok(connection)
}

fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    values: &Values,
) -> Result<usize, rusqlite::Error> {
    let mut statement = transaction.prepare_cached(sql)?;
    statement.execute(rusqlite::params_from_iter(values.iter()))
}

fn insert(table: &str, columns: &str) -> String {
    let count = columns.split(',').count();
    let numbered: Vec<_> = (1..=count).map(|n| format!("?{n}")).collect();
    format!("INSERT INTO {table} ({columns}) VALUES ({})", numbered.join(", "))
}

/// Whether the error says that a `UNIQUE` constraint does not hold.
fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

fn insert_box(transaction: &Transaction<'_>, record: &BoxRecord) -> Result<(), StoreError> {
    match execute(transaction, &insert("boxes", BOX_COLUMNS), &rows::box_values(record)) {
        Ok(_) => Ok(()),
        Err(error) if is_duplicate(&error) => {
            Err(StoreError::NameTaken { name: record.spec.name.to_string() })
        }
        Err(error) => Err(StoreError::of("writing a box", error)),
    }
}

fn update_box(transaction: &Transaction<'_>, record: &BoxRecord) -> Result<(), StoreError> {
    let sql = "UPDATE boxes SET engine = ?2, name = ?3, spec = ?4, state = ?5, reason = ?6, \
               failure = ?7, created = ?8, maker = ?9, last_operation = ?10, details = ?11 \
               WHERE id = ?1";
    match execute(transaction, sql, &rows::box_values(record)) {
        Ok(_) => Ok(()),
        Err(error) if is_duplicate(&error) => {
            Err(StoreError::NameTaken { name: record.spec.name.to_string() })
        }
        Err(error) => Err(StoreError::of("changing a box", error)),
    }
}

fn insert_operation(
    transaction: &Transaction<'_>,
    operation: &Operation,
) -> Result<(), StoreError> {
    let failed = |source| StoreError::of("writing an operation", source);
    if let Some(key) = &operation.key {
        let sql = "SELECT 1 FROM operations WHERE idempotency_key = ?1 AND started > ?2";
        let since = operation.started.millis() - DAY;
        let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
        let used: Option<i64> =
            statement.query_row((key, since), |row| row.get(0)).optional().map_err(failed)?;
        if used.is_some() {
            return Err(StoreError::KeyTaken);
        }
    }
    let sql = insert("operations", OPERATION_COLUMNS);
    execute(transaction, &sql, &rows::operation_values(operation)).map_err(failed)?;
    Ok(())
}

/// Whether there may be more space after it, if only because a box that fills the disk has stopped.
fn makes_room(kind: OperationKind) -> bool {
    matches!(kind, OperationKind::Delete | OperationKind::RemoveSnapshot(_) | OperationKind::Change)
}

/// How long an idempotency key is remembered, in milliseconds.
const DAY: i64 = 24 * 3600 * 1000;

#[async_trait]
impl Store for SqliteStore {
    async fn begin(&self, operation: &Operation, made: &[BoxRecord]) -> Result<(), StoreError> {
        let step = "beginning an operation";
        let body = |transaction: &Transaction<'_>| {
            insert_operation(transaction, operation)?;
            made.iter().try_for_each(|record| insert_box(transaction, record))
        };
        if makes_room(operation.kind) {
            self.write_at_last(step, Durability::Process, body)
        } else {
            self.write(step, Durability::Process, body)
        }
    }

    async fn finish(
        &self,
        operation: &Operation,
        changed: &[BoxRecord],
        removed: &[BoxId],
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.write_at_last("finishing an operation", durability, |transaction| {
            changed.iter().try_for_each(|record| update_box(transaction, record))?;
            for id in removed {
                let id: Values = vec![Box::new(id.to_string())];
                for sql in
                    ["DELETE FROM snapshots WHERE box_id = ?1", "DELETE FROM boxes WHERE id = ?1"]
                {
                    execute(transaction, sql, &id)
                        .map_err(|source| StoreError::of("removing a box", source))?;
                }
            }
            let failed = |source| StoreError::of("ending an operation", source);
            let values = rows::operation_values(operation);
            let [outcome, id] = [values.len() - 1, 0];
            let sql = "UPDATE operations SET outcome = ?1 WHERE id = ?2";
            let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
            statement.execute((&values[outcome], &values[id])).map_err(failed)?;
            let old = operation.started.millis() - KEPT;
            let sql = "DELETE FROM operations WHERE started < ?1 AND outcome IS NOT NULL";
            let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
            statement.execute([old]).map_err(failed)?;
            Ok(())
        })
    }

    async fn update(&self, changed: &[BoxRecord]) -> Result<(), StoreError> {
        self.write("changing boxes", Durability::Process, |transaction| {
            changed.iter().try_for_each(|record| update_box(transaction, record))
        })
    }

    async fn box_by_id(&self, id: BoxId) -> Result<Option<BoxRecord>, StoreError> {
        let sql = format!("SELECT {BOX_COLUMNS} FROM boxes WHERE id = ?1");
        self.one(&sql, &[&id.to_string()], rows::to_box)
    }

    async fn boxes_by_name(
        &self,
        engine: Option<&EngineName>,
        name: &BoxName,
    ) -> Result<Vec<BoxRecord>, StoreError> {
        let sql = format!(
            "SELECT {BOX_COLUMNS} FROM boxes WHERE name = ?1 AND (?2 IS NULL OR engine = ?2)"
        );
        self.many(&sql, &[&name.as_str(), &engine.map(EngineName::as_str)], rows::to_box)
    }

    async fn boxes(&self) -> Result<Vec<BoxRecord>, StoreError> {
        let sql = format!("SELECT {BOX_COLUMNS} FROM boxes ORDER BY engine, name");
        self.many(&sql, &[], rows::to_box)
    }

    async fn doomed(&self) -> Result<Vec<BoxRecord>, StoreError> {
        let sql = format!("SELECT {BOX_COLUMNS} FROM boxes WHERE maker IS NOT NULL OR state = ?1");
        self.many(&sql, &[&BoxState::Deleting.as_str()], rows::to_box)
    }

    async fn unfinished(&self) -> Result<Vec<Operation>, StoreError> {
        let sql =
            format!("SELECT {OPERATION_COLUMNS} FROM operations WHERE outcome IS NULL ORDER BY id");
        self.many(&sql, &[], rows::to_operation)
    }

    async fn by_key(&self, key: &str, since: Timestamp) -> Result<Option<Operation>, StoreError> {
        let sql = format!(
            "SELECT {OPERATION_COLUMNS} FROM operations \
             WHERE idempotency_key = ?1 AND started > ?2 ORDER BY id"
        );
        self.one(&sql, &[&key, &since.millis()], rows::to_operation)
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        let sql = format!("SELECT {OPERATION_COLUMNS} FROM operations WHERE id = ?1");
        self.one(&sql, &[&id.to_string()], rows::to_operation)
    }

    async fn add_snapshot(&self, snapshot: &SnapshotInfo) -> Result<(), StoreError> {
        self.write("writing a snapshot", Durability::Disk, |transaction| {
            let sql = insert("snapshots", SNAPSHOT_COLUMNS);
            match execute(transaction, &sql, &rows::snapshot_values(snapshot)) {
                Ok(_) => Ok(()),
                Err(error) if is_duplicate(&error) => {
                    Err(StoreError::SnapshotTaken { name: snapshot.name.to_string() })
                }
                Err(error) => Err(StoreError::of("writing a snapshot", error)),
            }
        })
    }

    async fn snapshots(&self, id: BoxId) -> Result<Vec<SnapshotInfo>, StoreError> {
        let sql = format!("SELECT {SNAPSHOT_COLUMNS} FROM snapshots WHERE box_id = ?1 ORDER BY id");
        self.many(&sql, &[&id.to_string()], rows::to_snapshot)
    }

    async fn snapshot(
        &self,
        id: BoxId,
        name: &SnapshotName,
    ) -> Result<Option<SnapshotInfo>, StoreError> {
        let sql =
            format!("SELECT {SNAPSHOT_COLUMNS} FROM snapshots WHERE box_id = ?1 AND name = ?2");
        self.one(&sql, &[&id.to_string(), &name.as_str()], rows::to_snapshot)
    }

    async fn remove_snapshot(&self, id: SnapshotId) -> Result<(), StoreError> {
        self.write_at_last("removing a snapshot", Durability::Disk, |transaction| {
            let id: Values = vec![Box::new(id.to_string())];
            execute(transaction, "DELETE FROM snapshots WHERE id = ?1", &id)
                .map_err(|source| StoreError::of("removing a snapshot", source))?;
            Ok(())
        })
    }

    async fn fact(&self, key: &str) -> Result<Option<String>, StoreError> {
        let read = |row: &Row<'_>| {
            row.get(0).map_err(|source| StoreError::of("reading the store", source))
        };
        self.one("SELECT value FROM facts WHERE key = ?1", &[&key], read)
    }

    async fn set_fact(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.write("writing a fact", Durability::Process, |transaction| {
            let sql = "INSERT INTO facts (key, value) VALUES (?1, ?2) \
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            let values: Values = vec![Box::new(key.to_owned()), Box::new(value.to_owned())];
            execute(transaction, sql, &values)
                .map_err(|source| StoreError::of("writing a fact", source))?;
            Ok(())
        })
    }
}
