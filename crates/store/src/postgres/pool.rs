//! A few connections, made when they are needed and kept while they are good.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::Client;

use super::address::Address;
use super::failure::{Failure, StatementFailure};
use super::in_time;
use crate::database::{NOW, Statement};

/// Connections at once; more callers wait.
const CONNECTIONS: usize = 8;
/// The clock, in Unix milliseconds, as it is when it is looked at.
const CLOCK: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT";
/// How a session begins. A server that stands still in the middle of a transaction keeps others from
/// its rows for no longer than this; a lock that somebody else keeps is an error and not a hang.
pub(super) const SESSION: &str =
    "SET idle_in_transaction_session_timeout TO '5s'; SET lock_timeout TO '10s'";

/// Connections to one server.
#[derive(Debug)]
pub(super) struct Pool {
    address: Address,
    idle: Mutex<Vec<Session>>,
    permits: Semaphore,
}

/// A connection with the statements that were prepared on it.
struct Session {
    client: Client,
    prepared: HashMap<&'static str, tokio_postgres::Statement>,
}

/// A connection that is in use. It is closed when it is dropped, with whatever was under way on it;
/// only [`Self::give_back`] keeps it for others.
pub(super) struct Connection<'p> {
    pool: &'p Pool,
    session: Session,
    _permit: SemaphorePermit<'p>,
}

impl Pool {
    pub(super) fn new(address: Address) -> Self {
        Self { address, idle: Mutex::default(), permits: Semaphore::new(CONNECTIONS) }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) async fn take(&self) -> Result<Connection<'_>, Failure> {
        let permit = self.permits.acquire().await.expect("the pool never closes it");
        let session = match self.kept() {
            Some(session) => session,
            None => self.connect().await?,
        };
        Ok(Connection { pool: self, session, _permit: permit })
    }

    fn kept(&self) -> Option<Session> {
        let mut idle = self.idle.lock();
        idle.retain(|session| !session.client.is_closed());
        idle.pop()
    }

    async fn connect(&self) -> Result<Session, Failure> {
        let client = in_time(self.address.connect()).await.map_err(unreachable)?;
        in_time(client.batch_execute(SESSION)).await.map_err(unreachable)?;
        Ok(Session { client, prepared: HashMap::new() })
    }
}

/// Postgres numbers parameters by `$1`, and has no other use for `?`.
fn translated(sql: &str) -> String {
    sql.replace('?', "$").replace(NOW, CLOCK)
}

fn unreachable(failure: StatementFailure) -> Failure {
    match failure {
        StatementFailure::Lost(source) => Failure::Unreachable(source),
        StatementFailure::Refused(error) => Failure::Unreachable(Box::new(error)),
    }
}

impl Connection<'_> {
    pub(super) fn client(&self) -> &Client {
        &self.session.client
    }

    pub(super) fn give_back(self) {
        self.pool.idle.lock().push(self.session);
    }

    /// Has the server understand a statement, once per connection.
    pub(super) async fn prepare(&mut self, statement: &Statement) -> Result<(), StatementFailure> {
        let Session { client, prepared } = &mut self.session;
        if !prepared.contains_key(statement.sql) {
            let sql = translated(statement.sql);
            prepared.insert(statement.sql, in_time(client.prepare(&sql)).await?);
        }
        Ok(())
    }

    /// A statement that was prepared.
    pub(super) fn prepared(&self, statement: &Statement) -> &tokio_postgres::Statement {
        &self.session.prepared[statement.sql]
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("prepared", &self.prepared.len()).finish_non_exhaustive()
    }
}
