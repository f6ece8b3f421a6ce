//! Records as rows, and back.

use std::fmt::Display;
use std::str::FromStr;

use boxherd_model::{BoxState, SnapshotInfo, Timestamp};
use rusqlite::{Row, ToSql};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{BoxRecord, Operation, StoreError};

pub(super) const BOX_COLUMNS: &str = "id, engine, name, spec, state, reason, failure, created, \
     maker, last_operation, details";
pub(super) const OPERATION_COLUMNS: &str =
    "id, kind, boxes, session, idempotency_key, started, outcome";
pub(super) const SNAPSHOT_COLUMNS: &str = "id, box_id, name, created";

/// The values of a row, in the order of its columns.
pub(super) type Values = Vec<Box<dyn ToSql>>;

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("records have no keys but texts and no numbers but finite")
}

fn text(value: impl Display) -> Box<dyn ToSql> {
    Box::new(value.to_string())
}

pub(super) fn box_values(record: &BoxRecord) -> Values {
    vec![
        text(record.id),
        text(&record.engine),
        text(&record.spec.name),
        Box::new(json(&record.spec)),
        text(record.state),
        Box::new(record.reason.as_ref().map(json)),
        Box::new(record.failure.clone()),
        Box::new(record.created.millis()),
        Box::new(record.maker.clone()),
        Box::new(record.last_operation.map(|id| id.to_string())),
        Box::new(json(&record.details)),
    ]
}

pub(super) fn operation_values(operation: &Operation) -> Values {
    vec![
        text(operation.id),
        Box::new(json(&operation.kind)),
        Box::new(json(&operation.boxes)),
        Box::new(operation.session.clone()),
        Box::new(operation.key.clone()),
        Box::new(operation.started.millis()),
        Box::new(operation.outcome.as_ref().map(json)),
    ]
}

pub(super) fn snapshot_values(snapshot: &SnapshotInfo) -> Values {
    vec![
        text(snapshot.id),
        text(snapshot.box_id),
        text(&snapshot.name),
        Box::new(snapshot.created.millis()),
    ]
}

/// A row that is read column by column.
struct Columns<'r, 's>(&'r Row<'s>);

impl Columns<'_, '_> {
    fn get<T: rusqlite::types::FromSql>(&self, column: &'static str) -> Result<T, StoreError> {
        self.0.get(column).map_err(|source| corrupt(column, source))
    }

    fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text: String = self.get(column)?;
        text.parse().map_err(|source| corrupt(column, source))
    }

    fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|source| corrupt(column, source))
    }

    fn optional_json<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.get(column)?;
        let parse = |text: String| serde_json::from_str(&text);
        text.map(parse).transpose().map_err(|source| corrupt(column, source))
    }

    fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.get(column).map(Timestamp::from_millis)
    }
}

fn corrupt(
    column: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Corrupt { what: format!("column `{column}`"), source: Box::new(source) }
}

pub(super) fn to_box(row: &Row<'_>) -> Result<BoxRecord, StoreError> {
    let row = Columns(row);
    let state: String = row.get("state")?;
    let unknown = || std::io::Error::other(format!("`{state}` is no state"));
    let last_operation: Option<String> = row.get("last_operation")?;
    let last_operation = last_operation.map(|id| id.parse()).transpose();
    Ok(BoxRecord {
        id: row.parsed("id")?,
        engine: row.parsed("engine")?,
        spec: row.json("spec")?,
        state: BoxState::from_text(&state).ok_or_else(|| corrupt("state", unknown()))?,
        reason: row.optional_json("reason")?,
        failure: row.get("failure")?,
        created: row.time("created")?,
        maker: row.get("maker")?,
        last_operation: last_operation.map_err(|source| corrupt("last_operation", source))?,
        details: row.json("details")?,
    })
}

pub(super) fn to_operation(row: &Row<'_>) -> Result<Operation, StoreError> {
    let row = Columns(row);
    Ok(Operation {
        id: row.parsed("id")?,
        kind: row.json("kind")?,
        boxes: row.json("boxes")?,
        session: row.get("session")?,
        key: row.get("idempotency_key")?,
        started: row.time("started")?,
        outcome: row.optional_json("outcome")?,
    })
}

pub(super) fn to_snapshot(row: &Row<'_>) -> Result<SnapshotInfo, StoreError> {
    let row = Columns(row);
    Ok(SnapshotInfo {
        id: row.parsed("id")?,
        name: row.parsed("name")?,
        box_id: row.parsed("box_id")?,
        created: row.time("created")?,
    })
}
