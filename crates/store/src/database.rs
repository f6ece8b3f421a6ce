//! What a database must do for [`SqlStore`](crate::SqlStore): read, and write several statements as
//! one transaction. Everything else is shared between the databases, down to the text of the SQL.
//!
//! That text keeps to what all of them take: parameters as `?1`, ids and enums as `TEXT`, times as
//! `BIGINT` Unix milliseconds, `''` where a column of a key has no value. [`NOW`] stands for the
//! database's own clock.

use std::fmt;

use crate::{Durability, StoreError};

/// In the text of a statement: the database's own clock, in Unix milliseconds.
pub(crate) const NOW: &str = "now_ms()";

/// A value of a column or a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
}

/// A row that was read, in the order of its columns.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) Vec<Value>);

/// A question that changes nothing.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) sql: &'static str,
    pub(crate) values: Vec<Value>,
}

/// One statement of a transaction, and when it takes the whole transaction back.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Names it in errors.
    pub(crate) step: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) values: Vec<Value>,
    /// Why the transaction is taken back when a row like this one is there already.
    pub(crate) duplicate: Option<StoreError>,
    /// Why the transaction is taken back when this changes nothing.
    pub(crate) idle: Option<StoreError>,
}

/// Statements that happen together or not at all.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// Names it in errors.
    pub(crate) step: &'static str,
    pub(crate) durability: Durability,
    pub(crate) statements: Vec<Statement>,
    /// It makes room, or ends what was begun: it may use space that was put by for it, where no other
    /// is left.
    pub(crate) makes_room: bool,
}

/// What came of a [`Statement`].
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// How many rows it changed; of a statement that answers, how many it answered.
    pub(crate) changed: u64,
    /// The rows it answered.
    pub(crate) rows: Vec<Row>,
}

/// A database that takes the SQL of this crate.
pub(crate) trait Database: fmt::Debug + Send + Sync {
    /// Answers a question.
    fn read(&self, query: Query) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// Does every statement, or none when one of them fails. Answers what came of each.
    fn write(
        &self,
        transaction: Transaction,
    ) -> impl Future<Output = Result<Vec<Done>, StoreError>> + Send;

    /// Whether it can be written to now. Writes nothing.
    fn check(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Every row that answers `query`, as records.
    fn many<T: Send>(
        &self,
        query: Query,
        to: fn(Row) -> Result<T, StoreError>,
    ) -> impl Future<Output = Result<Vec<T>, StoreError>> + Send {
        async move { self.read(query).await?.into_iter().map(to).collect() }
    }

    /// The row that answers `query`, of which there is at most one.
    fn one<T: Send>(
        &self,
        query: Query,
        to: fn(Row) -> Result<T, StoreError>,
    ) -> impl Future<Output = Result<Option<T>, StoreError>> + Send {
        async move { self.read(query).await?.pop().map(to).transpose() }
    }

    /// [`Self::write`] in one line.
    fn all(
        &self,
        step: &'static str,
        durability: Durability,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<Vec<Done>, StoreError>> + Send {
        self.write(Transaction { step, durability, statements, makes_room: false })
    }

    /// The same for what makes room, or ends what was begun.
    fn all_at_last(
        &self,
        step: &'static str,
        durability: Durability,
        statements: Vec<Statement>,
    ) -> impl Future<Output = Result<Vec<Done>, StoreError>> + Send {
        self.write(Transaction { step, durability, statements, makes_room: true })
    }

    /// One statement that is a transaction of its own.
    fn only(
        &self,
        durability: Durability,
        statement: Statement,
    ) -> impl Future<Output = Result<Done, StoreError>> + Send {
        async move {
            let mut done = self.all(statement.step, durability, vec![statement]).await?;
            Ok(done.pop().unwrap_or_default())
        }
    }

    /// One statement, on disk before it returns. Says whether it changed anything.
    fn durably(
        &self,
        statement: Statement,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send {
        async move { Ok(self.only(Durability::Disk, statement).await?.changed > 0) }
    }
}

impl Query {
    pub(crate) fn new(sql: &'static str, values: impl Into<Vec<Value>>) -> Self {
        Self { sql, values: values.into() }
    }
}

impl Statement {
    pub(crate) fn new(
        step: &'static str,
        sql: &'static str,
        values: impl Into<Vec<Value>>,
    ) -> Self {
        Self { step, sql, values: values.into(), duplicate: None, idle: None }
    }

    /// Takes the transaction back with `error` when there is such a row already.
    pub(crate) fn unless_duplicate(self, error: StoreError) -> Self {
        Self { duplicate: Some(error), ..self }
    }

    /// Takes the transaction back with `error` when this statement changes nothing.
    pub(crate) fn unless_idle(self, error: StoreError) -> Self {
        Self { idle: Some(error), ..self }
    }
}
