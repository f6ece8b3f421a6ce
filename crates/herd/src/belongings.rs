//! What a caller has besides boxes: found, listed, counted.

use boxherd_model::{BoxId, ThingId};
use boxherd_store::{ThingKind, ThingRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Herd, HerdError};

/// How many things of a kind one may have: nobody fills the store for the others.
const MOST: usize = 1000;
/// The longest name that is repeated in an error, in characters.
const SHOWN: usize = 80;

impl Herd {
    /// What the caller has of a kind, oldest first.
    pub(crate) async fn belongings(&self, kind: ThingKind) -> Result<Vec<ThingRecord>, HerdError> {
        Ok(self.store.things_owned(kind, self.caller.user()).await?)
    }

    /// The caller's thing of that id, else of that name.
    pub(crate) async fn belonging(
        &self,
        kind: ThingKind,
        text: &str,
    ) -> Result<ThingRecord, HerdError> {
        let own = self.belongings(kind).await?;
        let by_id = own.iter().find(|thing| thing.id.to_string() == text);
        let found = by_id.or_else(|| own.iter().find(|thing| thing.name == text));
        found.cloned().ok_or_else(|| no_such(kind, text))
    }

    /// Gives the caller a thing of that kind.
    pub(crate) async fn acquire<B: Serialize>(
        &self,
        kind: ThingKind,
        of: Option<BoxId>,
        name: &str,
        body: &B,
    ) -> Result<ThingRecord, HerdError> {
        if self.belongings(kind).await?.len() >= MOST {
            return Err(HerdError::Quota { quota: kind.as_str(), limit: MOST.to_string() });
        }
        let thing = ThingRecord {
            id: ThingId::new(),
            kind,
            owner: self.caller.user(),
            of,
            name: name.to_owned(),
            body: written(body),
            created: self.now(),
        };
        self.store.add_thing(&thing).await?;
        Ok(thing)
    }

    /// Takes a thing away from the caller.
    pub(crate) async fn give_up(&self, thing: &ThingRecord) -> Result<(), HerdError> {
        match self.store.remove_thing(thing.id).await? {
            true => Ok(()),
            // Somebody else was faster.
            false => Err(no_such(thing.kind, &thing.name)),
        }
    }
}

pub(crate) fn no_such(kind: ThingKind, text: &str) -> HerdError {
    HerdError::NoSuch { what: kind.as_str(), name: text.chars().take(SHOWN).collect() }
}

pub(crate) fn written<B: Serialize>(body: &B) -> String {
    serde_json::to_string(body).expect("structs of texts and numbers")
}

/// What a thing is like.
pub(crate) fn read<B: DeserializeOwned>(thing: &ThingRecord) -> Result<B, HerdError> {
    // The text itself may hold a secret, and so may what is said about it.
    let unreadable = |_| HerdError::Unreadable { what: thing.kind.as_str(), id: thing.id };
    serde_json::from_str(&thing.body).map_err(unreadable)
}
