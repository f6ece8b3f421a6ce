//! One SQLite file, in WAL mode.
//!
//! Calls take some ten microseconds and run on the caller's thread behind a mutex: handing them to
//! another thread would cost more than they do. A database that another process holds is waited
//! for, at most [`BUSY`], and not on that thread, which has others to serve. A file that was removed
//! or replaced is not written to any more: nobody would find there what was said to be done.

use std::borrow::Cow;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql, TransactionBehavior};
use tokio::time::{Instant, sleep};

use crate::database::{Database, Done, NOW, Query, Row, Statement, Transaction, Value};
use crate::reserve::{self, Reserve};
use crate::{Durability, SqlStore, StoreError, migrations, shared_memory};

/// How long another process's transaction is waited for.
pub const BUSY: Duration = Duration::from_secs(10);
/// How long it is waited for when it is only asked whether the store can be written to.
const BUSY_CHECK: Duration = Duration::from_secs(1);
/// How long after a try comes the next, at first and at last.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];
/// Pages of the write-ahead log after which it is written back: half a megabyte.
pub(crate) const LOG_PAGES: u32 = 128;
/// Statements that are kept prepared: all that there are.
const PREPARED: usize = 128;
/// Where there is no space when there is none.
const PLACE: &str = "on the filesystem of the data folder";
const IOERR_SHMSIZE: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
/// The clock, in Unix milliseconds; SQLite counts days since noon of a Monday in 4714 BC.
const CLOCK: &str = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)";

/// The store in one SQLite file.
pub type SqliteStore = SqlStore<Sqlite>;

/// One SQLite file, open.
#[derive(Debug)]
pub struct Sqlite {
    connection: Mutex<Connection>,
    reserve: Reserve,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
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
            Err(StoreError::Full { .. }) if reserve.release() => connect(path)?,
            result => result?,
        };
        reserve.keep();
        // The connection made the file, if it was not there.
        let file = identity(path).map_err(|error| gone("opening the store", path, error))?;
        let (connection, path) = (Mutex::new(connection), path.to_owned());
        Ok(Self::over(Sqlite { connection, reserve, path, file }))
    }
}

/// Opens the file and brings it up to date.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| failed("opening the store", source);
    shared_memory::make(path);
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    // In WAL mode NORMAL does not sync on commit; `Durability::Disk` raises it for a moment.
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    // Closing the last connection would sync, and remove the log that the next command makes
    // again. A log that stays is read whole when it is opened, so it is kept short.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(failed)?;
    // The plan of a statement is the same for every value; without, each new value has it planned anew,
    // which takes longer than to read a row.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
    migrate(&mut connection, path)?;
    connection.busy_timeout(Duration::ZERO).map_err(failed)?;
    Ok(connection)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn gone(step: &'static str, path: &Path, error: io::Error) -> StoreError {
    let what = format!("the file {}: {error}", path.display());
    StoreError::Gone { step, source: Box::new(io::Error::new(error.kind(), what)) }
}

impl Database for Sqlite {
    #[tracing::instrument(name = "read", level = "debug", skip_all)]
    async fn read(&self, query: Query) -> Result<Vec<Row>, StoreError> {
        let step = "reading the store";
        self.patiently(step, BUSY, |connection| {
            let done = run(connection, query.sql, &query.values);
            Ok(done.map_err(|source| failed(step, source))?.rows)
        })
        .await
    }

    #[tracing::instrument(name = "write", level = "debug", skip_all, fields(step = transaction.step))]
    async fn write(&self, mut transaction: Transaction) -> Result<Vec<Done>, StoreError> {
        self.patiently(transaction.step, BUSY, |connection| {
            match durably(connection, &mut transaction) {
                Err(StoreError::Full { .. })
                    if transaction.makes_room && self.reserve.release() =>
                {
                    durably(connection, &mut transaction)
                }
                result => result,
            }
        })
        .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let step = "looking at the store";
        self.patiently(step, BUSY_CHECK, |connection| {
            let failed = |source| failed(step, source);
            let open = connection.transaction_with_behavior(TransactionBehavior::Immediate);
            open.map_err(failed)?.rollback().map_err(failed)?;
            // Under the lock of the connection: whoever gave the space up is done with it.
            if !self.reserve.keep() || self.has_no_space(step)? {
                let source = Box::new(io::Error::from(io::ErrorKind::StorageFull));
                return Err(StoreError::Full { place: PLACE, source });
            }
            Ok(())
        })
        .await
    }
}

impl Sqlite {
    /// Does `attempt`, again and again while another process holds the database.
    async fn patiently<T>(
        &self,
        step: &'static str,
        patience: Duration,
        mut attempt: impl FnMut(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let [mut pause, longest] = PAUSES;
        loop {
            self.check_file(step)?;
            let done = attempt(&mut self.connection.lock());
            if !matches!(done, Err(StoreError::Busy(_))) || begun.elapsed() > patience {
                return done;
            }
            sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// Whether the next write may be one too many.
    fn has_no_space(&self, step: &'static str) -> Result<bool, StoreError> {
        let space = rustix::fs::statvfs(&self.path);
        let space = space.map_err(|error| gone(step, &self.path, error.into()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize) < reserve::SIZE as u64)
    }

    /// Whether whoever opens the store next finds the file that this process has open.
    fn check_file(&self, step: &'static str) -> Result<(), StoreError> {
        match identity(&self.path) {
            Ok(file) if file == self.file => Ok(()),
            Ok(_) => {
                let error = io::Error::other("it was replaced: end this program and start it anew");
                Err(gone(step, &self.path, error))
            }
            Err(error) => Err(gone(step, &self.path, error)),
        }
    }
}

fn durably(
    connection: &mut Connection,
    transaction: &mut Transaction,
) -> Result<Vec<Done>, StoreError> {
    let step = transaction.step;
    let failed = |source| failed(step, source);
    if transaction.durability == Durability::Process {
        return commit(connection, transaction);
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    let done = commit(connection, transaction);
    if let Err(error) = connection.pragma_update(None, "synchronous", "NORMAL") {
        // What was done is done, and must not be tried again; what follows is slower.
        tracing::warn!(%error, "the store goes on to wait for the disk at every write");
    }
    done
}

fn commit(
    connection: &mut Connection,
    transaction: &mut Transaction,
) -> Result<Vec<Done>, StoreError> {
    let step = transaction.step;
    let failed = |source| failed(step, source);
    let open =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let done = transaction.statements.iter_mut().map(|statement| execute(&open, statement));
    let done = done.collect::<Result<_, _>>()?;
    open.commit().map_err(failed)?;
    Ok(done)
}

fn execute(connection: &Connection, statement: &mut Statement) -> Result<Done, StoreError> {
    let done = run(connection, statement.sql, &statement.values);
    let done =
        done.map_err(|error| match statement.duplicate.take_if(|_| is_duplicate(&error)) {
            Some(duplicate) => duplicate,
            None => failed(statement.step, error),
        })?;
    statement.idle.take_if(|_| done.changed == 0).map_or(Ok(done), Err)
}

fn run(connection: &Connection, sql: &str, values: &[Value]) -> rusqlite::Result<Done> {
    let mut statement = connection.prepare_cached(&translated(sql))?;
    let values = rusqlite::params_from_iter(values);
    if statement.column_count() == 0 {
        let changed = statement.execute(values)? as u64;
        return Ok(Done { changed, rows: Vec::new() });
    }
    let rows: Vec<_> = statement.query_map(values, to_row)?.collect::<Result<_, _>>()?;
    Ok(Done { changed: rows.len() as u64, rows })
}

/// The SQL of this crate is that of SQLite but for the clock.
fn translated(sql: &str) -> Cow<'_, str> {
    if sql.contains(NOW) { sql.replace(NOW, CLOCK).into() } else { sql.into() }
}

fn to_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    (0..row.as_ref().column_count())
        .map(|column| row.get(column))
        .collect::<Result<_, _>>()
        .map(Row)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl FromSql for Value {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self::Null),
            ValueRef::Integer(number) => Ok(Self::Integer(number)),
            ValueRef::Text(_) => value.as_str().map(|text| Self::Text(text.to_owned())),
            ValueRef::Real(_) | ValueRef::Blob(_) => Err(FromSqlError::InvalidType),
        }
    }
}

/// Whether the error says that a `UNIQUE` constraint does not hold.
fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// Sorts what SQLite says into what a caller can do something about.
fn failed(step: &'static str, source: rusqlite::Error) -> StoreError {
    if let rusqlite::Error::FromSqlConversionFailure(column, ..) = source {
        let what = format!("column {column} of what was read");
        return StoreError::Corrupt { what, source: Box::new(source) };
    }
    let code = source.sqlite_error_code();
    // Memory that processes share is a file too, and nothing else keeps it from growing.
    let shared = source.sqlite_error().is_some_and(|e| e.extended_code == IOERR_SHMSIZE);
    let source = Box::new(source);
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(source),
        Some(ErrorCode::DiskFull) => StoreError::Full { place: PLACE, source },
        _ if shared => StoreError::Full { place: PLACE, source },
        _ => StoreError::Database { step, source },
    }
}

/// Brings the file to the newest version, which is its `PRAGMA user_version`. One pragma when it is
/// there already.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let unread = |source| failed("reading the version of the store", source);
    if version(connection).map_err(unread)? == migrations::KNOWN {
        return Ok(());
    }
    let failed = |source| failed("migrating the store", source);
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    // Another process may be migrating at this moment: look again once the lock is held.
    let open =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found = version(&open).map_err(failed)?;
    for migration in migrations::missing(found, path.display())? {
        open.execute_batch(migration).map_err(failed)?;
    }
    open.pragma_update(None, "user_version", migrations::KNOWN).map_err(failed)?;
    open.commit().map_err(failed)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
impl Sqlite {
    pub(crate) fn pragma(&self, name: &str) -> i64 {
        self.connection.lock().pragma_query_value(None, name, |row| row.get(0)).expect("a pragma")
    }

    pub(crate) fn set_pragma(&self, name: &str, value: i64) {
        self.connection.lock().pragma_update(None, name, value).expect("a pragma");
    }
}
