//! Saved boxes: what a user keeps of a box to make others from, whatever becomes of the box.
//!
//! One is a copy that never runs, like any other box to the engine. That is what engines can make
//! quickly and what counts by itself: it takes disk, and is one of its user's boxes. It is not among
//! those that are listed.

use std::collections::HashSet;

use boxherd_model::{
    Address, BoxId, BoxName, BoxStatus, RestartPolicy, SnapshotName, ThingId, Timers, Timestamp,
};
use boxherd_store::{ThingKind, ThingRecord};
use serde::{Deserialize, Serialize};

use crate::belongings::{no_such, read};
use crate::fork::After;
use crate::{Fork, Herd, HerdError};

/// A saved box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Of this version of it.
    pub id: ThingId,
    /// Unique among what a user saved.
    pub name: String,
    /// How often it was saved under that name.
    pub version: u64,
    /// The copy.
    pub copy: BoxStatus,
    /// When this version was saved.
    pub created: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    version: u64,
    /// What the copy is without, lest it be started or deleted by itself.
    restart: RestartPolicy,
}

impl Herd {
    /// Saves a box under a name. What was saved under it before goes.
    pub async fn save(&self, address: &Address, name: &SnapshotName) -> Result<Saved, HerdError> {
        self.user_id()?;
        let source = self.find(address).await?;
        let earlier = self.saved_records(name.as_str()).await?;
        let versions = earlier.iter().map(read::<Body>).collect::<Result<Vec<_>, _>>()?;
        let version = versions.iter().map(|body| body.version).max().unwrap_or(0) + 1;
        let fork = Fork { names: vec![self.suggest_copy_name(&source.spec.name)], live: false };
        let copies = self.fork_as(address, fork, After::Stopped, |spec| {
            spec.restart = RestartPolicy::Never;
            spec.timers = Timers::default();
            Ok(())
        });
        let none = || no_such(ThingKind::Snapshot, name.as_str());
        let copy = copies.await?.pop().ok_or_else(none)?;
        let body = Body { version, restart: source.spec.restart };
        let kept = self.acquire(ThingKind::Snapshot, Some(copy.id), name.as_str(), &body).await;
        if kept.is_err() {
            self.delete(&copy.address()).await?;
        }
        let kept = kept?;
        for record in earlier {
            self.forget(&record).await?;
        }
        Ok(Saved { id: kept.id, name: kept.name, version, copy, created: kept.created })
    }

    /// What the caller saved, oldest first.
    pub async fn saved(&self) -> Result<Vec<Saved>, HerdError> {
        let mut saved = Vec::new();
        for record in self.belongings(ThingKind::Snapshot).await? {
            saved.extend(self.read_saved(&record).await?);
        }
        Ok(saved)
    }

    /// What the caller saved, by its name or id.
    pub async fn saved_as(&self, text: &str) -> Result<Saved, HerdError> {
        let newest = self.saved_records(text).await?.pop();
        let record = newest.ok_or_else(|| no_such(ThingKind::Snapshot, text))?;
        self.read_saved(&record).await?.ok_or_else(|| no_such(ThingKind::Snapshot, text))
    }

    /// Forgets what the caller saved. Boxes that were made from it stay.
    pub async fn remove_saved(&self, text: &str) -> Result<(), HerdError> {
        let records = self.saved_records(text).await?;
        if records.is_empty() {
            return Err(no_such(ThingKind::Snapshot, text));
        }
        for record in records {
            self.forget(&record).await?;
        }
        Ok(())
    }

    /// Makes a box from what was saved, and starts it.
    pub async fn create_from_saved(
        &self,
        text: &str,
        name: BoxName,
    ) -> Result<BoxStatus, HerdError> {
        let saved = self.saved_as(text).await?;
        let record = self.belonging(ThingKind::Snapshot, &saved.id.to_string()).await?;
        let restart = read::<Body>(&record)?.restart;
        let fork = Fork { names: vec![name], live: false };
        let address = saved.copy.address();
        let made = self.fork_as(&address, fork, After::Runs, |spec| {
            spec.restart = restart;
            Ok(())
        });
        made.await?.pop().ok_or_else(|| no_such(ThingKind::Snapshot, text))
    }

    /// The copies that the caller's saved boxes are, which are no boxes to it.
    pub async fn copies_saved(&self) -> Result<HashSet<BoxId>, HerdError> {
        let records = self.belongings(ThingKind::Snapshot).await?;
        Ok(records.into_iter().filter_map(|record| record.of).collect())
    }

    /// With that id, or else under that name; more than one when one could not be forgotten yet.
    async fn saved_records(&self, text: &str) -> Result<Vec<ThingRecord>, HerdError> {
        let (by_id, others): (Vec<_>, Vec<_>) = self
            .belongings(ThingKind::Snapshot)
            .await?
            .into_iter()
            .partition(|record| record.id.to_string() == text);
        match by_id.is_empty() {
            false => Ok(by_id),
            true => Ok(others.into_iter().filter(|record| record.name == text).collect()),
        }
    }

    async fn read_saved(&self, record: &ThingRecord) -> Result<Option<Saved>, HerdError> {
        let Some(copy) = record.of else { return Ok(None) };
        let copy = match self.find(&by_id(copy)).await {
            Ok(copy) => crate::herd::status(copy),
            // It was just deleted.
            Err(HerdError::NoSuchBox(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Body { version, .. } = read(record)?;
        let (id, name, created) = (record.id, record.name.clone(), record.created);
        Ok(Some(Saved { id, name, version, copy, created }))
    }

    /// What is said of a copy goes with it.
    async fn forget(&self, record: &ThingRecord) -> Result<(), HerdError> {
        match record.of {
            Some(copy) => self.delete(&by_id(copy)).await,
            None => self.give_up(record).await,
        }
    }
}

fn by_id(id: BoxId) -> Address {
    id.to_string().parse().expect("an id is an address")
}
