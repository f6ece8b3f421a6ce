//! Why the store refuses.

use boxherd_model::BoxId;

/// What a database said.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why something could not be remembered or recalled.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A living box has the name.
    #[error("a box named `{name}` exists already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The box has a snapshot of that name.
    #[error("the box has a snapshot named `{name}` already")]
    SnapshotTaken {
        /// The name.
        name: String,
    },
    /// Something else has the name.
    #[error("there is a {what} `{name}` already")]
    Taken {
        /// What it is, such as `user` or `disk`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The idempotency key was used.
    #[error("the idempotency key was used before")]
    KeyTaken,
    /// The database was written by a later release.
    #[error("`{store}` has version {found}, this program knows up to {known}")]
    TooNew {
        /// The database: the path of its file, or where its server is.
        store: String,
        /// Its version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The box was leased to another server after this one stood still for too long; nothing was
    /// changed.
    #[error("another server has taken over the box {0}")]
    Fenced(BoxId),
    /// Somebody else held the database for too long.
    #[error("the store is locked by another process")]
    Busy(#[source] Source),
    /// No space is left for the store.
    #[error("no space is left for the store {place}")]
    Full {
        /// Such as `on the filesystem of the data folder`.
        place: &'static str,
        /// What the database said.
        #[source]
        source: Source,
    },
    /// What should say where the database is says something else.
    #[error("the address of the store cannot be used")]
    Address(#[source] Source),
    /// The database cannot be reached. Nothing was changed.
    #[error("the store is out of reach, at {step}")]
    Gone {
        /// What was being done.
        step: &'static str,
        /// What came in between.
        #[source]
        source: Source,
    },
    /// The connection was lost while a change was being made: it was made whole, or not at all.
    #[error("the connection to the store was lost, at {step}; it may or may not have been done")]
    Unsure {
        /// What was being done.
        step: &'static str,
        /// What came in between.
        #[source]
        source: Source,
    },
    /// A record that this program cannot have written.
    #[error("the store has a record that makes no sense: {what}")]
    Corrupt {
        /// Which column of what.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Source,
    },
    /// The database refused.
    #[error("{step} failed")]
    Database {
        /// What was being done.
        step: &'static str,
        /// What the database said.
        #[source]
        source: Source,
    },
}

impl StoreError {
    /// A stable code for scripts and wires.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NameTaken { .. } => "name-taken",
            Self::SnapshotTaken { .. } => "snapshot-taken",
            Self::Taken { .. } => "taken",
            Self::KeyTaken => "key-taken",
            Self::TooNew { .. } => "store-too-new",
            Self::Fenced(_) => "fenced",
            Self::Busy(_) => "store-busy",
            Self::Full { .. } => "store-full",
            Self::Address(_) => "store-address",
            Self::Gone { .. } => "store-gone",
            Self::Unsure { .. } => "store-unsure",
            Self::Corrupt { .. } => "store-corrupt",
            Self::Database { .. } => "store",
        }
    }

    /// What to do, when it is known.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NameTaken { .. } | Self::SnapshotTaken { .. } | Self::Taken { .. } => {
                Some("choose another name")
            }
            Self::TooNew { .. } => Some("use the newer boxherd, or another `--data` folder"),
            Self::Busy(_) | Self::Fenced(_) => Some("try again"),
            Self::Full { .. } => Some(
                "free space there; what makes room may still work: `boxherd rm`, `boxherd snapshot rm`",
            ),
            Self::Address(_) => Some("write `postgres://USER:PASSWORD@HOST/DATABASE`"),
            Self::Gone { .. } => Some("see whether the database is there and lets this program in"),
            Self::Unsure { .. } => Some("look whether it was done before trying again"),
            _ => None,
        }
    }
}
