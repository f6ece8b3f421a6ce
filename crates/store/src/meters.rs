//! What boxes used, as sums by day, and up to when it was counted.
//!
//! Whoever counts says from when to when. Where several servers count, one of them is first, and the
//! others are told that they were not: no moment is counted twice.

use async_trait::async_trait;
use boxherd_model::usage::Sums;
use boxherd_model::{BoxId, Timestamp, UserId};
use uuid::Uuid;

use crate::database::{Database, Query, Row, Statement, Value};
use crate::row::{Columns, corrupt, or_empty, text, time};
use crate::{Durability, SqlStore, StoreError};

/// What a box used of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// The box.
    pub id: BoxId,
    /// Whose it is.
    pub owner: Option<UserId>,
    /// What it was called that day.
    pub name: String,
    /// Counted from 1970-01-01 UTC.
    pub day: i64,
    /// How much.
    pub sums: Sums,
}

/// Keeps what was counted.
#[async_trait]
pub trait Meters: Send + Sync {
    /// Up to when a box was counted; from `created` on if it never was.
    async fn counted(&self, id: BoxId, created: Timestamp) -> Result<Timestamp, StoreError>;

    /// Adds what was counted of a box from `from` to `to`. `false` when somebody else counted on from
    /// `from`: nothing was added then.
    async fn count(
        &self,
        id: BoxId,
        from: Timestamp,
        to: Timestamp,
        days: &[UsageRecord],
    ) -> Result<bool, StoreError>;

    /// What boxes of `owner` used in days of `days`, by box and day; those of deleted boxes too.
    async fn used(
        &self,
        owner: Option<UserId>,
        days: std::ops::RangeInclusive<i64>,
    ) -> Result<Vec<UsageRecord>, StoreError>;

    /// Forgets what was used before `day`, and all but the latest `most` sums.
    async fn forget_used(&self, day: i64, most: u32) -> Result<(), StoreError>;
}

#[async_trait]
impl<D: Database> Meters for SqlStore<D> {
    async fn counted(&self, id: BoxId, created: Timestamp) -> Result<Timestamp, StoreError> {
        let step = "looking up what was counted";
        let begin = "INSERT INTO meters (box_id, counted, turn) VALUES (?1, ?2, '') \
                     ON CONFLICT (box_id) DO NOTHING";
        let find = "SELECT counted FROM meters WHERE box_id = ?1";
        let known = self.database.one(Query::new(find, [text(id)]), to_counted).await?;
        if let Some(counted) = known {
            return Ok(counted);
        }
        let statement = Statement::new(step, begin, [text(id), time(created)]);
        self.database.only(Durability::Process, statement).await?;
        let known = self.database.one(Query::new(find, [text(id)]), to_counted).await?;
        Ok(known.unwrap_or(created))
    }

    async fn count(
        &self,
        id: BoxId,
        from: Timestamp,
        to: Timestamp,
        days: &[UsageRecord],
    ) -> Result<bool, StoreError> {
        let step = "counting what a box used";
        let turn = Uuid::now_v7();
        let sql = "UPDATE meters SET counted = ?3, turn = ?4 WHERE box_id = ?1 AND counted = ?2";
        let advance = Statement::new(step, sql, [text(id), time(from), time(to), text(turn)]);
        let mut statements = vec![advance];
        statements.extend(days.iter().map(|day| add(day, turn)));
        let done = self.database.all(step, Durability::Process, statements).await?;
        Ok(done.first().is_some_and(|done| done.changed > 0))
    }

    async fn used(
        &self,
        owner: Option<UserId>,
        days: std::ops::RangeInclusive<i64>,
    ) -> Result<Vec<UsageRecord>, StoreError> {
        let sql = "SELECT box_id, owner, name, day, running, suspended, hibernated, stopped, cpu, \
                   memory, disk FROM usage WHERE owner = ?1 AND day >= ?2 AND day <= ?3 \
                   ORDER BY box_id, day";
        let values = [or_empty(owner), Value::Integer(*days.start()), Value::Integer(*days.end())];
        self.database.many(Query::new(sql, values), to_usage).await
    }

    async fn forget_used(&self, day: i64, most: u32) -> Result<(), StoreError> {
        let step = "forgetting what was used long ago";
        let old = "DELETE FROM usage WHERE day < ?1";
        let many = "DELETE FROM usage WHERE day <= \
                    (SELECT MAX(day) FROM (SELECT day FROM usage ORDER BY day DESC \
                     LIMIT 1 OFFSET ?1) AS surplus)";
        let gone = "DELETE FROM meters WHERE box_id NOT IN (SELECT id FROM boxes)";
        let statements = vec![
            Statement::new(step, old, [Value::Integer(day)]),
            Statement::new(step, many, [Value::Integer(most.into())]),
            Statement::new(step, gone, []),
        ];
        self.database.all(step, Durability::Process, statements).await?;
        Ok(())
    }
}

/// Adds to a day if it is this `turn` that counts.
fn add(record: &UsageRecord, turn: Uuid) -> Statement {
    let sql = "INSERT INTO usage (box_id, owner, name, day, running, suspended, hibernated, stopped, \
                   cpu, memory, disk) \
               SELECT box_id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 FROM meters \
                   WHERE box_id = ?1 AND turn = ?2 \
               ON CONFLICT (box_id, day) DO UPDATE SET \
                   name = excluded.name, \
                   running = usage.running + excluded.running, \
                   suspended = usage.suspended + excluded.suspended, \
                   hibernated = usage.hibernated + excluded.hibernated, \
                   stopped = usage.stopped + excluded.stopped, \
                   cpu = usage.cpu + excluded.cpu, \
                   memory = usage.memory + excluded.memory, \
                   disk = usage.disk + excluded.disk";
    let sums = &record.sums;
    let mut values = vec![
        text(record.id),
        text(turn),
        or_empty(record.owner),
        text(&record.name),
        Value::Integer(record.day),
    ];
    let parts = [sums.running, sums.suspended, sums.hibernated, sums.stopped];
    let parts = parts.into_iter().chain([sums.cpu, sums.memory, sums.disk]);
    // A thousandth of the largest number, so that a year of them is none too large.
    values.extend(parts.map(|part| Value::Integer(to_integer(part))));
    Statement::new("counting what a box used", sql, values)
}

fn to_integer(part: u64) -> i64 {
    const MOST: i64 = i64::MAX / 1000;
    i64::try_from(part).map_or(MOST, |part| part.min(MOST))
}

fn to_counted(row: Row) -> Result<Timestamp, StoreError> {
    Columns::from(row).time("counted")
}

fn to_usage(row: Row) -> Result<UsageRecord, StoreError> {
    let mut row = Columns::from(row);
    Ok(UsageRecord {
        id: row.parsed("box_id")?,
        owner: row.owner()?,
        name: row.text("name")?,
        day: row.integer("day")?,
        sums: Sums {
            running: part(&mut row, "running")?,
            suspended: part(&mut row, "suspended")?,
            hibernated: part(&mut row, "hibernated")?,
            stopped: part(&mut row, "stopped")?,
            cpu: part(&mut row, "cpu")?,
            memory: part(&mut row, "memory")?,
            disk: part(&mut row, "disk")?,
        },
    })
}

fn part(row: &mut Columns, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.integer(column)?).map_err(|source| corrupt(column, source))
}
