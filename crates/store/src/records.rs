//! What is remembered.

use boxherd_model::{
    BoxId, BoxSpec, BoxState, EngineName, Holdings, OperationId, StopReason, Timestamp, Timings,
    UserId,
};
use serde::{Deserialize, Serialize};

/// What one box takes, of whom and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The engine that has it.
    pub engine: EngineName,
    /// Whose it is, as of [`BoxRecord::owner`].
    pub owner: Option<UserId>,
    /// How much that is.
    pub holdings: Holdings,
}

/// A box: who it is, what was asked for, and where it was last seen standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxRecord {
    /// For ever.
    pub id: BoxId,
    /// The engine that has it.
    pub engine: EngineName,
    /// Whose it is; `None` for boxes of the host's own command line. Names are unique for an owner.
    pub owner: Option<UserId>,
    /// What was asked for, with the current name and labels.
    pub spec: BoxSpec,
    /// Where it was last seen standing.
    pub state: BoxState,
    /// Why it is stopped.
    pub reason: Option<StopReason>,
    /// Why it failed, for people.
    pub failure: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// The session whose end takes an ephemeral box with it.
    pub maker: Option<String>,
    /// The operation that made it or last changed it.
    pub last_operation: Option<OperationId>,
    /// What the engine said when it was made or started.
    pub details: Details,
}

/// What an engine says of a box besides its state; kept as one text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// The digest of its image; `None` for `host`.
    pub image_digest: Option<String>,
    /// Its addresses when it was last started.
    pub addresses: Vec<std::net::IpAddr>,
    /// Which member of a cluster has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What could not be had and was not insisted on.
    pub notes: Vec<String>,
    /// How long the phases of its last operation took.
    pub timings: Timings,
}

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// For ever.
    pub id: OperationId,
    /// What is being done.
    pub kind: OperationKind,
    /// The boxes it is done to, or makes.
    pub boxes: Vec<BoxId>,
    /// The session that does it: the name of a lock that the session holds while it lives.
    pub session: String,
    /// The caller's idempotency key.
    pub key: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// How it ended; `None` while it is under way, or was cut off.
    pub outcome: Option<Outcome>,
}

/// What an [`Operation`] does, with what is needed to finish it or roll it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Makes a box and starts it.
    Create,
    /// Makes copies of a box.
    Fork,
    /// Starts, stops, suspends, resumes or hibernates a box.
    Change,
    /// Gives a box another name.
    Rename,
    /// Saves a disk.
    TakeSnapshot(boxherd_model::SnapshotId),
    /// Puts a disk back.
    RestoreSnapshot(boxherd_model::SnapshotId),
    /// Removes a saved disk.
    RemoveSnapshot(boxherd_model::SnapshotId),
    /// Removes a box.
    Delete,
}

/// How an [`Operation`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As asked.
    Done,
    /// It could not be done, and what it had begun was undone.
    Failed,
    /// Its session died, and another one finished it.
    Finished,
    /// Its session died, and another one undid it.
    RolledBack,
}
