//! Boxes and their snapshots: the statements, and the rows.

use boxherd_model::{
    BoxId, BoxName, BoxState, Caller, EngineName, Holdings, Limits, SnapshotId, SnapshotInfo,
    SnapshotName,
};

use serde::Deserialize;

use crate::database::{Query, Row, Statement, Value};
use crate::row::{Columns, corrupt, json, optional, or_empty, text, time};
use crate::{BoxRecord, Held, StoreError};

macro_rules! select_boxes {
    ($rest:literal) => {
        concat!(
            "SELECT id, engine, owner, spec, state, reason, failure, created, maker, \
             last_operation, details FROM boxes ",
            $rest
        )
    };
}

macro_rules! select_snapshots {
    ($rest:literal) => {
        concat!("SELECT id, box_id, name, created FROM snapshots ", $rest)
    };
}

/// Writes a box that is being made.
pub(crate) fn insert(record: &BoxRecord) -> Statement {
    let sql = "INSERT INTO boxes (id, engine, owner, name, spec, state, reason, failure, created, \
               maker, last_operation, details) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    Statement::new("writing a box", sql, values(record)).unless_duplicate(taken(record))
}

/// Changes a box. One that is gone stays gone.
pub(crate) fn update(record: &BoxRecord) -> Statement {
    let sql = "UPDATE boxes SET engine = ?2, owner = ?3, name = ?4, spec = ?5, state = ?6, \
               reason = ?7, failure = ?8, created = ?9, maker = ?10, last_operation = ?11, \
               details = ?12 WHERE id = ?1";
    Statement::new("changing a box", sql, values(record)).unless_duplicate(taken(record))
}

/// Changes the state of a box that is as it was `found`.
pub(crate) fn correct(found: &BoxRecord, truth: &BoxRecord) -> Statement {
    let sql = "UPDATE boxes SET state = ?2, reason = ?3, failure = ?4 \
               WHERE id = ?1 AND state = ?5 AND COALESCE(last_operation, '') = ?6";
    let values = [
        text(truth.id),
        text(truth.state),
        optional(truth.reason.as_ref(), json),
        optional(truth.failure.as_ref(), text),
        text(found.state),
        or_empty(found.last_operation),
    ];
    Statement::new("correcting a box", sql, values)
}

/// Changes boxes, in the order of their ids: two servers that change the same ones wait for each other
/// in turn, and not each for the other.
pub(crate) fn update_all(records: &[BoxRecord]) -> impl Iterator<Item = Statement> {
    let mut records: Vec<_> = records.iter().collect();
    records.sort_unstable_by_key(|record| record.id);
    records.into_iter().map(update)
}

/// Forgets a box, and what goes with it.
pub(crate) fn remove(id: BoxId) -> impl Iterator<Item = Statement> {
    const DELETES: [&str; 4] = [
        "DELETE FROM snapshots WHERE box_id = ?1",
        "DELETE FROM things WHERE box_id = ?1",
        "DELETE FROM leases WHERE box_id = ?1",
        "DELETE FROM boxes WHERE id = ?1",
    ];
    let id = id.to_string();
    DELETES.into_iter().map(move |sql| Statement::new("removing a box", sql, [text(&id)]))
}

pub(crate) fn by_id(id: BoxId) -> Query {
    Query::new(select_boxes!("WHERE id = ?1"), [text(id)])
}

/// The boxes of a name that `caller` sees.
pub(crate) fn by_name(caller: Caller, engine: Option<&EngineName>, name: &BoxName) -> Query {
    let sql = select_boxes!(
        "WHERE name = ?1 AND (?2 = '' OR owner = ?2) AND (?3 = '' OR engine = ?3) \
         ORDER BY engine, owner"
    );
    Query::new(sql, [text(name), or_empty(caller.user()), or_empty(engine)])
}

pub(crate) fn all() -> Query {
    Query::new(select_boxes!("ORDER BY engine, name, owner"), [])
}

pub(crate) fn held() -> Query {
    Query::new("SELECT engine, owner, state, spec FROM boxes", [])
}

pub(crate) fn doomed() -> Query {
    let sql = select_boxes!("WHERE maker IS NOT NULL OR state = ?1");
    Query::new(sql, [text(BoxState::Deleting)])
}

pub(crate) fn insert_snapshot(snapshot: &SnapshotInfo) -> Statement {
    let sql = "INSERT INTO snapshots (id, box_id, name, created) VALUES (?1, ?2, ?3, ?4)";
    let values =
        [text(snapshot.id), text(snapshot.box_id), text(&snapshot.name), time(snapshot.created)];
    let taken = StoreError::SnapshotTaken { name: snapshot.name.to_string() };
    Statement::new("writing a snapshot", sql, values).unless_duplicate(taken)
}

pub(crate) fn snapshots(of: BoxId) -> Query {
    Query::new(select_snapshots!("WHERE box_id = ?1 ORDER BY id"), [text(of)])
}

pub(crate) fn snapshot(of: BoxId, name: &SnapshotName) -> Query {
    Query::new(select_snapshots!("WHERE box_id = ?1 AND name = ?2"), [text(of), text(name)])
}

pub(crate) fn remove_snapshot(id: SnapshotId) -> Statement {
    Statement::new("removing a snapshot", "DELETE FROM snapshots WHERE id = ?1", [text(id)])
}

fn taken(record: &BoxRecord) -> StoreError {
    StoreError::NameTaken { name: record.spec.name.to_string() }
}

fn values(record: &BoxRecord) -> Vec<Value> {
    vec![
        text(record.id),
        text(&record.engine),
        or_empty(record.owner),
        text(&record.spec.name),
        json(&record.spec),
        text(record.state),
        optional(record.reason.as_ref(), json),
        optional(record.failure.as_ref(), text),
        time(record.created),
        optional(record.maker.as_ref(), text),
        optional(record.last_operation, text),
        json(&record.details),
    ]
}

pub(crate) fn to_box(row: Row) -> Result<BoxRecord, StoreError> {
    let mut row = Columns::from(row);
    Ok(BoxRecord {
        id: row.parsed("id")?,
        engine: row.parsed("engine")?,
        owner: row.owner()?,
        spec: row.json("spec")?,
        state: to_state(&row.text("state")?)?,
        reason: row.optional_json("reason")?,
        failure: row.optional_text("failure")?,
        created: row.time("created")?,
        maker: row.optional_text("maker")?,
        last_operation: row.optional_parsed("last_operation")?,
        details: row.json("details")?,
    })
}

pub(crate) fn to_held(row: Row) -> Result<Held, StoreError> {
    /// What a spec says of sizes.
    #[derive(Deserialize)]
    struct Sizes {
        #[serde(default)]
        limits: Limits,
    }

    let mut row = Columns::from(row);
    let (engine, owner) = (row.parsed("engine")?, row.owner()?);
    let state = to_state(&row.text("state")?)?;
    let Sizes { limits } = row.json("spec")?;
    Ok(Held { engine, owner, holdings: Holdings::of(&limits, state) })
}

fn to_state(text: &str) -> Result<BoxState, StoreError> {
    let unknown = || std::io::Error::other(format!("`{text}` is no state"));
    BoxState::from_text(text).ok_or_else(|| corrupt("state", unknown()))
}

pub(crate) fn to_snapshot(row: Row) -> Result<SnapshotInfo, StoreError> {
    let mut row = Columns::from(row);
    Ok(SnapshotInfo {
        id: row.parsed("id")?,
        box_id: row.parsed("box_id")?,
        name: row.parsed("name")?,
        created: row.time("created")?,
    })
}
