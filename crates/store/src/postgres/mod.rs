//! A Postgres server, which several servers of ours may share.
//!
//! A transaction is three round trips: it begins, its statements go out together, it commits. A
//! connection that is lost before the commit went out has done nothing, and the transaction is tried
//! again on another one; what is lost during the commit is asked for afterwards, by the number of the
//! transaction. So nothing is done twice, and [`StoreError::Unsure`] is left for a database that is
//! lost during a commit and does not come back.

mod address;
mod failure;
mod migrate;
mod pool;
mod settle;
mod value;

use std::time::Duration;

use futures_util::future::join_all;
use tokio_postgres::SimpleQueryMessage;

use crate::database::{Database, Done, Query, Row, Statement, Transaction};
use crate::{Durability, SqlStore, StoreError};
use address::Address;
use failure::{Failure, StatementFailure};
use pool::{Connection, Pool};

/// The store on a Postgres server.
pub type PostgresStore = SqlStore<Postgres>;

/// A Postgres server, of which connections are taken as they are needed.
#[derive(Debug)]
pub struct Postgres {
    pool: Pool,
}

/// How long an answer is waited for. Longer than [`pool::LOCK_TIMEOUT`], so that a lock that is not
/// had is said to be one.
const ANSWER: Duration = Duration::from_secs(15);
/// How often a transaction is tried whose connection is lost, or that other transactions are in the
/// way of, before it is given up.
const TRIES: usize = 8;

impl PostgresStore {
    /// Connects to a server, and makes or updates its tables.
    ///
    /// `url` is `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or the words of `libpq`
    /// (`host=/run/postgresql user=boxherd`). Other hosts than this one are spoken to by TLS, with
    /// the certificates that this host trusts; `sslmode=disable` says otherwise.
    ///
    /// # Errors
    ///
    /// [`StoreError::Address`] when `url` cannot be understood, [`StoreError::Gone`] when nobody
    /// answers there, [`StoreError::TooNew`] when a later release made the tables.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_to(Address::parse(url, address::trusted_here)?).await
    }

    async fn connect_to(address: Address) -> Result<Self, StoreError> {
        let database = Postgres { pool: Pool::new(address) };
        migrate::migrate(&database.pool).await?;
        Ok(Self::over(database))
    }

    /// Connects to a server that shows one of `trusted`.
    #[cfg(test)]
    pub(crate) async fn connect_trusting(
        url: &str,
        trusted: rustls::RootCertStore,
    ) -> Result<Self, StoreError> {
        Self::connect_to(Address::parse(url, || Ok(trusted))?).await
    }
}

impl Database for Postgres {
    #[tracing::instrument(name = "read", level = "debug", skip_all)]
    async fn read(&self, query: Query) -> Result<Vec<Row>, StoreError> {
        let step = "reading the store";
        let statement = Statement::new(step, query.sql, query.values);
        let mut tries = 1..TRIES;
        loop {
            match self.ask(&statement).await {
                Ok(done) => return Ok(done.rows),
                Err(failure) if failure.may_be_tried_again() && tries.next().is_some() => {}
                Err(failure) => return Err(failure.into_error(step, vec![statement])),
            }
        }
    }

    #[tracing::instrument(name = "write", level = "debug", skip_all, fields(step = transaction.step))]
    async fn write(&self, transaction: Transaction) -> Result<Vec<Done>, StoreError> {
        // Nothing is put by: its disk is its operator's.
        let Transaction { step, durability, statements, makes_room: _ } = transaction;
        let mut tries = 1..TRIES;
        loop {
            match self.attempt(&statements, durability).await {
                Ok(done) => return Ok(done),
                Err(failure) if failure.may_be_tried_again() && tries.next().is_some() => {}
                Err(failure) => return Err(failure.into_error(step, statements)),
            }
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        // A server that only reads gives no number to a transaction.
        self.all("looking at the store", Durability::Process, Vec::new()).await.map(drop)
    }
}

impl Postgres {
    /// One statement by itself.
    async fn ask(&self, statement: &Statement) -> Result<Done, Failure> {
        let mut connection = self.pool.take().await?;
        connection.prepare(statement).await.map_err(Failure::of_only)?;
        let done = in_time(run(&connection, statement)).await.map_err(Failure::of_only)?;
        connection.give_back();
        Ok(done)
    }

    /// One transaction, tried once.
    async fn attempt(
        &self,
        statements: &[Statement],
        durability: Durability,
    ) -> Result<Vec<Done>, Failure> {
        let mut connection = self.pool.take().await?;
        for statement in statements {
            connection.prepare(statement).await.map_err(Failure::of_only)?;
        }
        let number = begin(&connection, durability).await.map_err(Failure::of_only)?;
        let done = match run_all(&connection, statements).await {
            Ok(done) => done,
            Err(failure) => {
                // One that cannot be taken back goes with its connection.
                if in_time(connection.client().batch_execute("ROLLBACK")).await.is_ok() {
                    connection.give_back();
                }
                return Err(failure);
            }
        };
        match in_time(connection.client().batch_execute("COMMIT")).await {
            Ok(()) => connection.give_back(),
            Err(StatementFailure::Refused(error)) => return Err(Failure::Refused(None, error)),
            Err(StatementFailure::Lost(source)) => {
                // Its permit is for whoever asks what became of it.
                drop(connection);
                settle::settle(&self.pool, &number, source).await?;
            }
        }
        Ok(done)
    }
}

/// Begins a transaction. Answers its number.
async fn begin(
    connection: &Connection<'_>,
    durability: Durability,
) -> Result<String, StatementFailure> {
    let begin = match durability {
        Durability::Process => {
            "BEGIN; SET LOCAL synchronous_commit TO off; SELECT pg_current_xact_id()"
        }
        Durability::Disk => {
            "BEGIN; SET LOCAL synchronous_commit TO on; SELECT pg_current_xact_id()"
        }
    };
    let said = in_time(connection.client().simple_query(begin)).await?;
    let number = said.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let none = || StatementFailure::Lost("the server began a transaction without a number".into());
    number.map(str::to_owned).ok_or_else(none)
}

/// Sends all statements at once and waits for their answers.
async fn run_all(
    connection: &Connection<'_>,
    statements: &[Statement],
) -> Result<Vec<Done>, Failure> {
    let answers = statements.iter().map(|statement| in_time(run(connection, statement)));
    let answers = join_all(answers).await.into_iter().enumerate();
    // After the first that failed all others fail because of it.
    let done = answers.map(|(index, done)| done.map_err(|failure| failure.of(index)));
    let done: Vec<Done> = done.collect::<Result<_, _>>()?;
    let idle =
        |(statement, done): (&Statement, &Done)| statement.idle.is_some() && done.changed == 0;
    statements.iter().zip(&done).position(idle).map_or(Ok(()), |at| Err(Failure::Idle(at)))?;
    Ok(done)
}

async fn run(
    connection: &Connection<'_>,
    statement: &Statement,
) -> Result<Done, tokio_postgres::Error> {
    let prepared = connection.prepared(statement);
    let values = value::parameters(&statement.values);
    if prepared.columns().is_empty() {
        let changed = connection.client().execute(prepared, &values).await?;
        return Ok(Done { changed, rows: Vec::new() });
    }
    let rows = connection.client().query(prepared, &values).await?;
    let rows: Vec<_> = rows.iter().map(value::to_row).collect::<Result<_, _>>()?;
    Ok(Done { changed: rows.len() as u64, rows })
}

/// Waits for an answer, but not for ever.
async fn in_time<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StatementFailure> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(StatementFailure::from),
        Err(elapsed) => Err(StatementFailure::Lost(Box::new(elapsed))),
    }
}

/// How sessions begin, for tests that play another server.
#[cfg(test)]
pub(crate) const fn session() -> &'static str {
    pool::SESSION
}
