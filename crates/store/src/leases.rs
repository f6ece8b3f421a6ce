//! Who may act on a box when several servers share one database.
//!
//! A server holds the lease of a box while it works on it, and renews it in time. One that stood
//! still for longer than its lease has lost it, whether it knows or not: the token that came with
//! the lease is older than that of whoever took it over, and by that an engine can tell.

use std::time::Duration;

use async_trait::async_trait;
use boxherd_model::{BoxId, Timestamp};

use crate::database::{Database, Query, Row, Statement, Value};
use crate::row::{Columns, corrupt, text};
use crate::{Durability, SqlStore, StoreError};

/// Grows with every change of holder of a box, for as long as there is the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(pub u64);

/// Who may act on a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The name of a server, or rather of one run of it.
    pub holder: String,
    /// Newer than that of every earlier holder.
    pub token: FencingToken,
    /// When it ends, by the clock of the database.
    pub expires: Timestamp,
}

/// Gives boxes to one server at a time. Time is told by the database alone, so that the clocks of
/// servers need not agree.
///
/// Whoever took a lease and did not give it back changes the box's record through the same handle only
/// for as long as nobody else took it: after that everything that [`Store`](crate::Store) writes of the
/// box is refused as [`StoreError::Fenced`].
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the lease of a box for `ttl`; `None` while somebody else has it. Whoever has it already
    /// keeps its token, so that asking again after a lost connection does no harm. On disk before
    /// the call returns: a token is never given twice.
    async fn acquire(
        &self,
        id: BoxId,
        holder: &str,
        ttl: Duration,
    ) -> Result<Option<FencingToken>, StoreError>;

    /// Keeps a lease for `ttl` from now. Says whether it was still there; when it was not, nothing
    /// more may be done with its token.
    async fn renew(
        &self,
        id: BoxId,
        token: FencingToken,
        ttl: Duration,
    ) -> Result<bool, StoreError>;

    /// Gives a lease back before it ends. Says whether it was still there.
    async fn release(&self, id: BoxId, token: FencingToken) -> Result<bool, StoreError>;

    /// Who has the lease of a box.
    async fn holder_of(&self, id: BoxId) -> Result<Option<Lease>, StoreError>;
}

#[async_trait]
impl<D: Database> Leases for SqlStore<D> {
    async fn acquire(
        &self,
        id: BoxId,
        holder: &str,
        ttl: Duration,
    ) -> Result<Option<FencingToken>, StoreError> {
        let sql = "INSERT INTO leases (box_id, holder, token, expires) \
                   VALUES (?1, ?2, 1, now_ms() + ?3) \
                   ON CONFLICT (box_id) DO UPDATE SET \
                       token = CASE \
                           WHEN leases.holder = excluded.holder AND leases.expires > now_ms() \
                           THEN leases.token ELSE leases.token + 1 END, \
                       holder = excluded.holder, \
                       expires = excluded.expires \
                   WHERE leases.holder = excluded.holder OR leases.expires <= now_ms() \
                   RETURNING token";
        let values = [text(id), text(holder), millis(ttl)];
        let statement = Statement::new("taking a lease", sql, values);
        let mut done = self.database.only(Durability::Disk, statement).await?;
        let token = done.rows.pop().map(|row| to_token(&mut Columns::from(row))).transpose()?;
        if let Some(token) = token {
            self.held.lock().insert(id, token);
        }
        Ok(token)
    }

    async fn renew(
        &self,
        id: BoxId,
        token: FencingToken,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE leases SET expires = now_ms() + ?3 \
                   WHERE box_id = ?1 AND token = ?2 AND expires > now_ms()";
        let statement =
            Statement::new("renewing a lease", sql, [text(id), of_token(token), millis(ttl)]);
        Ok(self.database.only(Durability::Process, statement).await?.changed > 0)
    }

    async fn release(&self, id: BoxId, token: FencingToken) -> Result<bool, StoreError> {
        {
            // It may have been taken again after it was lost.
            let mut held = self.held.lock();
            if held.get(&id) == Some(&token) {
                held.remove(&id);
            }
        }
        // The row stays: it knows which tokens were given.
        let sql = "UPDATE leases SET expires = now_ms() \
                   WHERE box_id = ?1 AND token = ?2 AND expires > now_ms()";
        let statement = Statement::new("releasing a lease", sql, [text(id), of_token(token)]);
        Ok(self.database.only(Durability::Process, statement).await?.changed > 0)
    }

    async fn holder_of(&self, id: BoxId) -> Result<Option<Lease>, StoreError> {
        let sql = "SELECT holder, token, expires FROM leases \
                   WHERE box_id = ?1 AND expires > now_ms()";
        self.database.one(Query::new(sql, [text(id)]), to_lease).await
    }
}

impl<D> SqlStore<D> {
    /// What makes a transaction that changes boxes fail where the lease of one was lost. The rows are
    /// locked by it, so that nobody takes such a lease before the transaction has ended.
    pub(crate) fn guards(&self, boxes: impl Iterator<Item = BoxId>) -> Vec<Statement> {
        let held = self.held.lock();
        if held.is_empty() {
            return Vec::new();
        }
        let mut boxes: Vec<_> = boxes.filter_map(|id| Some((id, *held.get(&id)?))).collect();
        boxes.sort_unstable();
        boxes.dedup();
        let guard = |(id, token)| {
            let sql = "UPDATE leases SET holder = holder WHERE box_id = ?1 AND token = ?2";
            Statement::new("looking whether a lease holds", sql, [text(id), of_token(token)])
                .unless_idle(StoreError::Fenced(id))
        };
        boxes.into_iter().map(guard).collect()
    }
}

/// One statement about a box, on disk before it returns, unless the lease of the box was lost. Says
/// whether it changed anything.
pub(crate) async fn guarded<D: Database>(
    store: &SqlStore<D>,
    of: Option<BoxId>,
    statement: Statement,
) -> Result<bool, StoreError> {
    let mut statements = store.guards(of.into_iter());
    let step = statement.step;
    statements.push(statement);
    let mut done = store.database.all(step, Durability::Disk, statements).await?;
    Ok(done.pop().is_some_and(|done| done.changed > 0))
}

/// The box that `sql` finds, where leases are held at all.
pub(crate) async fn box_of<D: Database>(
    store: &SqlStore<D>,
    sql: &'static str,
    id: Value,
) -> Result<Option<BoxId>, StoreError> {
    if store.held.lock().is_empty() {
        return Ok(None);
    }
    let to_box = |row| Columns::from(row).parsed_or_empty("box_id");
    Ok(store.database.one(Query::new(sql, [id]), to_box).await?.flatten())
}

/// A time that is longer than the database can count is for ever.
fn millis(ttl: Duration) -> Value {
    const FOR_EVER: i64 = i64::MAX / 2;
    Value::Integer(i64::try_from(ttl.as_millis()).map_or(FOR_EVER, |ttl| ttl.min(FOR_EVER)))
}

/// A token that the database cannot have given matches none.
fn of_token(token: FencingToken) -> Value {
    Value::Integer(i64::try_from(token.0).unwrap_or(-1))
}

fn to_token(row: &mut Columns) -> Result<FencingToken, StoreError> {
    let token = u64::try_from(row.integer("token")?);
    Ok(FencingToken(token.map_err(|source| corrupt("token", source))?))
}

fn to_lease(row: Row) -> Result<Lease, StoreError> {
    let mut row = Columns::from(row);
    Ok(Lease {
        holder: row.text("holder")?,
        token: to_token(&mut row)?,
        expires: row.time("expires")?,
    })
}
