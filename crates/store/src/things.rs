//! What a user has besides boxes: disks, templates, networks, domains, proxies, variables, forwarded
//! ports. One table for all of them: the store does not look into what it keeps.

use std::fmt;

use async_trait::async_trait;
use boxherd_model::{BoxId, ThingId, Timestamp, UserId};

use crate::StoreError;

/// What a [`ThingRecord`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThingKind {
    /// A sized filesystem that boxes mount.
    Disk,
    /// An image and a frozen configuration.
    Template,
    /// A network of boxes.
    Network,
    /// A domain name that leads to a box.
    Domain,
    /// A name below a box's own that leads to a port of it.
    Proxy,
    /// A port of the host that leads to a port of a box.
    Forward,
    /// An environment variable or a secret.
    Variable,
    /// A disk that was saved to make boxes from.
    Snapshot,
    /// The machine spec of a box.
    Machine,
}

impl ThingKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Disk,
        Self::Template,
        Self::Network,
        Self::Domain,
        Self::Proxy,
        Self::Forward,
        Self::Variable,
        Self::Snapshot,
        Self::Machine,
    ];

    /// The stable text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Template => "template",
            Self::Network => "network",
            Self::Domain => "domain",
            Self::Proxy => "proxy",
            Self::Forward => "forward",
            Self::Variable => "variable",
            Self::Snapshot => "snapshot",
            Self::Machine => "machine spec",
        }
    }

    /// The kind with that text form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for ThingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something a user has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThingRecord {
    /// For ever.
    pub id: ThingId,
    /// What it is.
    pub kind: ThingKind,
    /// Whose it is; `None` for what belongs to the host.
    pub owner: Option<UserId>,
    /// The box it belongs to and goes with.
    pub of: Option<BoxId>,
    /// Unique among things of that kind, owner and box.
    pub name: String,
    /// What it is like, as JSON.
    pub body: String,
    /// When it was made.
    pub created: Timestamp,
}

/// Remembers things. Every change is on disk before the call returns.
#[async_trait]
pub trait Things: Send + Sync {
    /// # Errors
    ///
    /// [`StoreError::Taken`] when there is one of that kind, owner, box and name.
    async fn add_thing(&self, thing: &ThingRecord) -> Result<(), StoreError>;
    /// Changes name and body of a thing. One that is gone stays gone.
    async fn update_thing(&self, thing: &ThingRecord) -> Result<(), StoreError>;
    /// Forgets a thing. Says whether there was one.
    async fn remove_thing(&self, id: ThingId) -> Result<bool, StoreError>;
    /// The thing of that kind with that id.
    async fn thing(&self, kind: ThingKind, id: ThingId) -> Result<Option<ThingRecord>, StoreError>;
    /// Every thing of a kind, oldest first, of every owner.
    async fn things(&self, kind: ThingKind) -> Result<Vec<ThingRecord>, StoreError>;
    /// The things of a kind that belong to `owner`, oldest first.
    async fn things_owned(
        &self,
        kind: ThingKind,
        owner: Option<UserId>,
    ) -> Result<Vec<ThingRecord>, StoreError>;
    /// The things of a kind that go with a box, oldest first.
    async fn things_of(&self, kind: ThingKind, of: BoxId) -> Result<Vec<ThingRecord>, StoreError>;
    /// The things of a kind and name, of every owner and box.
    async fn things_named(
        &self,
        kind: ThingKind,
        name: &str,
    ) -> Result<Vec<ThingRecord>, StoreError>;
}
