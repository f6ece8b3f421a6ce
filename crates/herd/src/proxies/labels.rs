//! What a box is called below the zone, where names are one's own no more: two users have a box `web`
//! each, and there is one `web.ZONE`.
//!
//! Who comes first keeps the name. A box that is made or renamed while another has its name is given a
//! label, `NAME-` and six hex digits, which is kept as a thing of the box (a `Domain` without a dot)
//! together with the name it stands for, and holds until the box is renamed. A box's id always works,
//! too. So most boxes need nothing to be written, and a rename cannot take a name over that is in use.

use boxherd_model::{BoxId, BoxName, Caller, ThingId};
use boxherd_store::{BoxRecord, ThingKind, ThingRecord};
use serde::{Deserialize, Serialize};

use crate::herd::random;
use crate::{Herd, HerdError, names};

/// How often a free label is looked for before the id has to do.
const TRIES: usize = 4;

/// The name that a label stands for.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    instead_of: String,
}

/// Domains of users have a dot.
pub(super) fn is_label(thing: &ThingRecord) -> bool {
    !thing.name.contains('.')
}

fn stands_for(thing: &ThingRecord, name: &BoxName) -> bool {
    let body = serde_json::from_str::<Body>(&thing.body);
    is_label(thing) && body.is_ok_and(|body| body.instead_of == name.as_str())
}

impl Herd {
    /// What a box is called below the zone.
    pub async fn label_of(&self, id: BoxId) -> Result<String, HerdError> {
        let record = self.store.box_by_id(id).await?;
        let record = record.filter(|record| self.caller.sees(record.owner));
        let none = || HerdError::NoSuch { what: "box", name: id.to_string() };
        self.web_label(&record.ok_or_else(none)?).await
    }

    pub(super) async fn web_label(&self, record: &BoxRecord) -> Result<String, HerdError> {
        if let Some(own) = self.own_label(record).await? {
            return Ok(own);
        }
        let name = record.spec.name.to_string();
        if record.owner.is_some() {
            return Ok(name);
        }
        // Nothing was looked up when it was made.
        let first = self.labelled(&name).await?;
        let is_first = first.is_some_and(|first| first.id == record.id);
        Ok(if is_first { name } else { record.id.to_string() })
    }

    async fn own_label(&self, record: &BoxRecord) -> Result<Option<String>, HerdError> {
        let things = self.store.things_of(ThingKind::Domain, record.id).await?;
        let own = things.into_iter().find(|thing| stands_for(thing, &record.spec.name));
        Ok(own.map(|thing| thing.name))
    }

    /// Gives a box that has just come to its name a label, if others have that name.
    pub(crate) async fn settle_label(
        &self,
        record: &BoxRecord,
        name: &BoxName,
    ) -> Result<(), HerdError> {
        if !self.is_called(name, Some(record.id)).await? {
            return Ok(());
        }
        let things = self.store.things_of(ThingKind::Domain, record.id).await?;
        if things.iter().any(|thing| stands_for(thing, name)) {
            return Ok(());
        }
        let mut label = record.id.to_string();
        for _ in 0..TRIES {
            let free = names::of_copy(name, random());
            if !self.is_called(&free, None).await? {
                label = free.to_string();
                break;
            }
        }
        let body = Body { instead_of: name.to_string() };
        let thing = ThingRecord {
            id: ThingId::new(),
            kind: ThingKind::Domain,
            owner: record.owner,
            of: Some(record.id),
            name: label,
            body: serde_json::json!(body).to_string(),
            created: self.now(),
        };
        Ok(self.store.add_thing(&thing).await?)
    }

    /// Forgets labels that stand for names which a box has no more.
    pub(crate) async fn forget_labels(&self, record: &BoxRecord) -> Result<(), HerdError> {
        let things = self.store.things_of(ThingKind::Domain, record.id).await?;
        let old = |thing: &&ThingRecord| is_label(thing) && !stands_for(thing, &record.spec.name);
        for thing in things.iter().filter(old) {
            self.store.remove_thing(thing.id).await?;
        }
        self.routes.changed();
        Ok(())
    }

    /// Whether a box other than `but` has that name or label.
    async fn is_called(&self, name: &BoxName, but: Option<BoxId>) -> Result<bool, HerdError> {
        let named = self.store.boxes_by_name(Caller::Host, None, name).await?;
        if named.iter().any(|record| Some(record.id) != but) {
            return Ok(true);
        }
        let labels = self.store.things_named(ThingKind::Domain, name.as_str()).await?;
        Ok(labels.iter().any(|thing| thing.of != but))
    }

    /// The box of that label, whoever's it is.
    pub(super) async fn labelled(&self, label: &str) -> Result<Option<BoxRecord>, HerdError> {
        if let Ok(id) = label.parse() {
            return Ok(self.store.box_by_id(id).await?);
        }
        let Ok(name) = label.parse::<BoxName>() else { return Ok(None) };
        let mut named = self.store.boxes_by_name(Caller::Host, None, &name).await?;
        // Ids sort by age. That two have a name and neither has a label takes a crash between the
        // rename of one and the label it was to get.
        named.sort_by_key(|record| record.id);
        for record in named {
            if self.own_label(&record).await?.is_none() {
                return Ok(Some(record));
            }
        }
        for thing in self.store.things_named(ThingKind::Domain, label).await? {
            let Some(of) = thing.of else { continue };
            let record = self.store.box_by_id(of).await?;
            if let Some(record) = record.filter(|record| stands_for(&thing, &record.spec.name)) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}
