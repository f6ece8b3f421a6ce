//! The journal: the statements, and the rows.

use boxherd_model::{OperationId, Timestamp};

use crate::database::{Query, Row, Statement};
use crate::row::{Columns, json, optional, text, time};
use crate::{Operation, OperationKind, StoreError};

/// How long an idempotency key is remembered, in milliseconds: a day.
pub(crate) const KEY_KEPT: i64 = 24 * 3600 * 1000;
/// Operations that ended longer ago than this are forgotten, in milliseconds: a week.
const KEPT: i64 = 7 * 24 * 3600 * 1000;

macro_rules! select_operations {
    ($rest:literal) => {
        concat!(
            "SELECT id, kind, boxes, session, idempotency_key, started, outcome FROM operations ",
            $rest
        )
    };
}

/// Writes an operation down. Keys are unique, so that of two callers that come with the same key at
/// the same time one is refused on every database; one that was kept for long enough is given up
/// first.
pub(crate) fn insert(operation: &Operation) -> impl Iterator<Item = Statement> {
    let sql = "INSERT INTO operations (id, kind, boxes, session, idempotency_key, started, \
               outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = [
        text(operation.id),
        json(&operation.kind),
        json(&operation.boxes),
        text(&operation.session),
        optional(operation.key.as_ref(), text),
        time(operation.started),
        optional(operation.outcome.as_ref(), json),
    ];
    let write = Statement::new("writing an operation", sql, values);
    let give_up = operation.key.as_ref().map(|key| {
        let sql = "UPDATE operations SET idempotency_key = NULL \
                   WHERE idempotency_key = ?1 AND started <= ?2";
        let since = Timestamp::from_millis(operation.started.millis() - KEY_KEPT);
        Statement::new("giving up a key", sql, [text(key), time(since)])
    });
    give_up.into_iter().chain([write.unless_duplicate(StoreError::KeyTaken)])
}

/// Whether there may be more space after it, if only because a box that fills the disk has stopped.
pub(crate) fn makes_room(kind: OperationKind) -> bool {
    matches!(kind, OperationKind::Delete | OperationKind::RemoveSnapshot(_) | OperationKind::Change)
}

/// Writes how an operation ended, and forgets those of long ago.
pub(crate) fn end(operation: &Operation) -> [Statement; 2] {
    let end = "UPDATE operations SET outcome = ?1 WHERE id = ?2";
    let values = [optional(operation.outcome.as_ref(), json), text(operation.id)];
    let forget = "DELETE FROM operations WHERE started < ?1 AND outcome IS NOT NULL";
    let old = Timestamp::from_millis(operation.started.millis() - KEPT);
    [
        Statement::new("ending an operation", end, values),
        Statement::new("forgetting operations", forget, [time(old)]),
    ]
}

pub(crate) fn unfinished() -> Query {
    Query::new(select_operations!("WHERE outcome IS NULL ORDER BY id"), [])
}

pub(crate) fn by_key(key: &str, since: Timestamp) -> Query {
    let sql = select_operations!("WHERE idempotency_key = ?1 AND started > ?2");
    Query::new(sql, [text(key), time(since)])
}

pub(crate) fn by_id(id: OperationId) -> Query {
    Query::new(select_operations!("WHERE id = ?1"), [text(id)])
}

pub(crate) fn to_operation(row: Row) -> Result<Operation, StoreError> {
    let mut row = Columns::from(row);
    Ok(Operation {
        id: row.parsed("id")?,
        kind: row.json("kind")?,
        boxes: row.json("boxes")?,
        session: row.text("session")?,
        key: row.optional_text("idempotency_key")?,
        started: row.time("started")?,
        outcome: row.optional_json("outcome")?,
    })
}
