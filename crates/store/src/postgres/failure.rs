//! What a failure of Postgres means for what was asked.

use tokio_postgres::error::{Severity, SqlState};

use crate::StoreError;
use crate::database::Statement;
use crate::error::Source;

/// Why one statement failed.
#[derive(Debug)]
pub(super) enum StatementFailure {
    /// There is no answer.
    Lost(Source),
    /// The server said no.
    Refused(tokio_postgres::Error),
}

/// Why an attempt failed. But for the last, nothing was changed.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no connection to be had.
    Unreachable(Source),
    /// The connection was lost before the commit.
    Lost(Source),
    /// The server refused the statement of that index; `None` for what belongs to no statement.
    Refused(Option<usize>, tokio_postgres::Error),
    /// The statement of that index changed nothing, which it must.
    Idle(usize),
    /// The connection was lost during the commit.
    Unsure(Source),
}

impl From<tokio_postgres::Error> for StatementFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        if is_loss(&error) { Self::Lost(Box::new(error)) } else { Self::Refused(error) }
    }
}

/// Whether the error says that the connection is gone, rather than that a statement is refused.
fn is_loss(error: &tokio_postgres::Error) -> bool {
    let Some(said) = error.as_db_error() else {
        let source = std::error::Error::source(error);
        return error.is_closed() || source.is_some_and(|source| source.is::<std::io::Error>());
    };
    // A server that is told to stop, or ends the session because it stood still within a transaction.
    matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
}

impl StatementFailure {
    pub(super) fn of(self, index: usize) -> Failure {
        match self {
            Self::Lost(source) => Failure::Lost(source),
            Self::Refused(error) => Failure::Refused(Some(index), error),
        }
    }
}

impl Failure {
    /// The failure of what belongs to no statement of a transaction.
    pub(super) fn of_only(failure: impl Into<StatementFailure>) -> Self {
        match failure.into() {
            StatementFailure::Lost(source) => Self::Lost(source),
            StatementFailure::Refused(error) => Self::Refused(None, error),
        }
    }

    /// Whether nothing was changed, and it may well be possible the next time.
    pub(super) fn may_be_tried_again(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Refused(_, error) => in_the_way(error),
            Self::Unreachable(_) | Self::Unsure(_) | Self::Idle(_) => false,
        }
    }

    /// What a caller is told; `step` names what was asked.
    pub(super) fn into_error(self, step: &'static str, statements: Vec<Statement>) -> StoreError {
        match self {
            Self::Unreachable(source) | Self::Lost(source) => StoreError::Gone { step, source },
            Self::Unsure(source) => StoreError::Unsure { step, source },
            Self::Idle(index) => {
                let idle = statements.into_iter().nth(index).and_then(|statement| statement.idle);
                idle.unwrap_or_else(|| StoreError::Database {
                    step,
                    source: "nothing was changed".into(),
                })
            }
            Self::Refused(index, error) => {
                let statement = index.and_then(|index| statements.into_iter().nth(index));
                match statement {
                    Some(Statement { duplicate: Some(duplicate), .. }) if is_duplicate(&error) => {
                        duplicate
                    }
                    Some(statement) => refused(statement.step, error),
                    None => refused(step, error),
                }
            }
        }
    }
}

/// Whether the server gave one of several transactions up that were in each other's way.
fn in_the_way(error: &tokio_postgres::Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::T_R_DEADLOCK_DETECTED)
        || code == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
}

fn is_duplicate(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

/// Sorts what the server says into what a caller can do something about.
fn refused(step: &'static str, error: tokio_postgres::Error) -> StoreError {
    const BUSY: [SqlState; 4] = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::QUERY_CANCELED,
    ];
    let code = error.code().cloned();
    let source = Box::new(error);
    match code {
        Some(code) if code == SqlState::DISK_FULL => {
            StoreError::Full { place: "where the database keeps its files", source }
        }
        Some(code) if BUSY.contains(&code) => StoreError::Busy(source),
        _ => StoreError::Database { step, source },
    }
}
