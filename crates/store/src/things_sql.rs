//! Things over any database.

use async_trait::async_trait;
use boxherd_model::{BoxId, ThingId, UserId};

use crate::database::{Database, Query, Row, Statement};
use crate::leases::{box_of, guarded};
use crate::row::{Columns, corrupt, or_empty, text, time};
use crate::{SqlStore, StoreError, ThingKind, ThingRecord, Things};

macro_rules! select_things {
    ($rest:literal) => {
        concat!("SELECT id, kind, owner, box_id, name, body, created FROM things ", $rest)
    };
}

#[async_trait]
impl<D: Database> Things for SqlStore<D> {
    async fn add_thing(&self, thing: &ThingRecord) -> Result<(), StoreError> {
        let sql = "INSERT INTO things (id, kind, owner, box_id, name, body, created) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values = [
            text(thing.id),
            text(thing.kind),
            or_empty(thing.owner),
            or_empty(thing.of),
            text(&thing.name),
            text(&thing.body),
            time(thing.created),
        ];
        let statement = Statement::new("writing a thing", sql, values);
        guarded(self, thing.of, statement.unless_duplicate(taken(thing))).await?;
        Ok(())
    }

    async fn update_thing(&self, thing: &ThingRecord) -> Result<(), StoreError> {
        let sql = "UPDATE things SET name = ?2, body = ?3 WHERE id = ?1";
        let values = [text(thing.id), text(&thing.name), text(&thing.body)];
        let statement = Statement::new("changing a thing", sql, values);
        guarded(self, thing.of, statement.unless_duplicate(taken(thing))).await?;
        Ok(())
    }

    async fn remove_thing(&self, id: ThingId) -> Result<bool, StoreError> {
        let of = box_of(self, "SELECT box_id FROM things WHERE id = ?1", text(id)).await?;
        let sql = "DELETE FROM things WHERE id = ?1";
        guarded(self, of, Statement::new("removing a thing", sql, [text(id)])).await
    }

    async fn thing(&self, kind: ThingKind, id: ThingId) -> Result<Option<ThingRecord>, StoreError> {
        let sql = select_things!("WHERE kind = ?1 AND id = ?2");
        self.database.one(Query::new(sql, [text(kind), text(id)]), to_thing).await
    }

    async fn things(&self, kind: ThingKind) -> Result<Vec<ThingRecord>, StoreError> {
        let sql = select_things!("WHERE kind = ?1 ORDER BY created, id");
        self.database.many(Query::new(sql, [text(kind)]), to_thing).await
    }

    async fn things_owned(
        &self,
        kind: ThingKind,
        owner: Option<UserId>,
    ) -> Result<Vec<ThingRecord>, StoreError> {
        let sql = select_things!("WHERE kind = ?1 AND owner = ?2 ORDER BY created, id");
        self.database.many(Query::new(sql, [text(kind), or_empty(owner)]), to_thing).await
    }

    async fn things_of(&self, kind: ThingKind, of: BoxId) -> Result<Vec<ThingRecord>, StoreError> {
        let sql = select_things!("WHERE kind = ?1 AND box_id = ?2 ORDER BY created, id");
        self.database.many(Query::new(sql, [text(kind), text(of)]), to_thing).await
    }

    async fn things_named(
        &self,
        kind: ThingKind,
        name: &str,
    ) -> Result<Vec<ThingRecord>, StoreError> {
        let sql = select_things!("WHERE kind = ?1 AND name = ?2 ORDER BY created, id");
        self.database.many(Query::new(sql, [text(kind), text(name)]), to_thing).await
    }
}

fn taken(thing: &ThingRecord) -> StoreError {
    StoreError::Taken { what: thing.kind.as_str(), name: thing.name.clone() }
}

fn to_thing(row: Row) -> Result<ThingRecord, StoreError> {
    let mut row = Columns::from(row);
    Ok(ThingRecord {
        id: row.parsed("id")?,
        kind: to_kind(&row.text("kind")?)?,
        owner: row.owner()?,
        of: row.parsed_or_empty("box_id")?,
        name: row.text("name")?,
        body: row.text("body")?,
        created: row.time("created")?,
    })
}

fn to_kind(text: &str) -> Result<ThingKind, StoreError> {
    let unknown = || std::io::Error::other(format!("`{text}` is no kind of thing"));
    ThingKind::from_text(text).ok_or_else(|| corrupt("kind", unknown()))
}
