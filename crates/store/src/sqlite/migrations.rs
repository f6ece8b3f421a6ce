//! The tables, version by version. Forward only; the version is `PRAGMA user_version`.
//!
//! The SQL keeps to what Postgres takes too: ids and enums as text, times as Unix milliseconds. Only
//! its parameters are written `?1` where Postgres writes `$1`.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::StoreError;

/// One entry per version, applied in order.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE boxes (
        id TEXT PRIMARY KEY NOT NULL,
        engine TEXT NOT NULL,
        name TEXT NOT NULL,
        spec TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        failure TEXT,
        created BIGINT NOT NULL,
        maker TEXT,
        last_operation TEXT,
        details TEXT NOT NULL,
        UNIQUE (engine, name)
    );
    CREATE TABLE operations (
        id TEXT PRIMARY KEY NOT NULL,
        kind TEXT NOT NULL,
        boxes TEXT NOT NULL,
        session TEXT NOT NULL,
        idempotency_key TEXT,
        started BIGINT NOT NULL,
        outcome TEXT
    );
    CREATE INDEX operations_unfinished ON operations (id) WHERE outcome IS NULL;
    CREATE INDEX operations_by_key ON operations (idempotency_key)
        WHERE idempotency_key IS NOT NULL;
    CREATE INDEX operations_by_age ON operations (started);
    CREATE TABLE snapshots (
        id TEXT PRIMARY KEY NOT NULL,
        box_id TEXT NOT NULL,
        name TEXT NOT NULL,
        created BIGINT NOT NULL,
        UNIQUE (box_id, name)
    );
    CREATE TABLE facts (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
    "];

/// The newest version.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Brings the database to [`KNOWN`]. One pragma when it is there already.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::of("reading the version of the store", source);
    if version(connection).map_err(failed)? == KNOWN {
        return Ok(());
    }
    let failed = |source| StoreError::of("migrating the store", source);
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    // Another process may be migrating at this moment: look again once the lock is held.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found = version(&transaction).map_err(failed)?;
    let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len());
    let Some(done) = done else {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known: KNOWN });
    };
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", KNOWN).map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
