//! What became of a transaction whose connection was lost while it was committed.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;

use super::failure::{Failure, StatementFailure};
use super::in_time;
use super::pool::Pool;
use crate::error::Source;

/// How long a server is waited for that may come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// What the server says of a transaction.
enum Status {
    Committed,
    Aborted,
    /// Its server process has not yet noticed, or the server cannot be asked.
    Open,
}

/// Asks until it is known. Succeeds when the transaction is committed; fails with
/// [`Failure::Lost`], after which it may be tried again, when it is not, and with
/// [`Failure::Unsure`] when the server does not come back to say.
///
/// A server that crashes before a commit is in its log forgets the number too, and may give it to
/// somebody else; who asks after that is told of the other transaction. Only a crash in the same
/// moment does that, and not the loss of a connection.
pub(super) async fn settle(pool: &Pool, number: &str, lost: Source) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match status(pool, number).await {
            Status::Committed => return Ok(()),
            Status::Aborted => return Err(Failure::Lost(lost)),
            Status::Open if Instant::now() < deadline => sleep(PAUSE).await,
            Status::Open => return Err(Failure::Unsure(lost)),
        }
    }
}

async fn status(pool: &Pool, number: &str) -> Status {
    let Ok(connection) = pool.take().await else { return Status::Open };
    let sql = "SELECT pg_xact_status($1::TEXT::xid8)";
    match in_time(connection.client().query_one(sql, &[&number])).await {
        Ok(row) => {
            let status = row.get::<_, Option<String>>(0);
            connection.give_back();
            match status.as_deref() {
                Some("committed") => Status::Committed,
                Some("aborted") => Status::Aborted,
                _ => Status::Open,
            }
        }
        // A number that the server has not given yet: it lost the transaction in a crash.
        Err(StatementFailure::Refused(error))
            if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) =>
        {
            Status::Aborted
        }
        Err(_) => Status::Open,
    }
}
