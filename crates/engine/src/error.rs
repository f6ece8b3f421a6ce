//! What an engine answers when it cannot.

use boxherd_model::{BoxId, Capability, DiskId};

/// An operation that needs a capability this engine has not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{op}` needs `{capability}`, which this engine does not have: {reason}")]
pub struct Unsupported {
    /// The operation or the field of the spec, as the user wrote it.
    pub op: &'static str,
    /// What is missing.
    pub capability: Capability,
    /// Why it is missing and how to get it.
    pub reason: String,
}

/// Why an engine call failed: a variant per thing a caller can do something about.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine has no such box.
    #[error("the engine has no box {0}")]
    NoSuchBox(BoxId),
    /// The box exists and is in the wrong state for the call.
    #[error("the box is {found}, which does not allow `{op}`")]
    WrongState {
        /// The call.
        op: &'static str,
        /// The state that was found.
        found: &'static str,
    },
    /// The engine has no such disk.
    #[error("the engine has no disk {0}")]
    NoSuchDisk(DiskId),
    /// Somebody has the disk.
    #[error("disk {disk} is in use: {reason}")]
    DiskInUse {
        /// Which disk.
        disk: DiskId,
        /// By whom.
        reason: String,
    },
    /// Nothing can be mounted there.
    #[error("nothing can be mounted on `{path}` in the box: {reason}")]
    MountPath {
        /// The path in the box.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The engine cannot do this.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The image is not there or cannot be used.
    #[error("image `{image}`: {reason}")]
    Image {
        /// The reference as it was asked for.
        image: String,
        /// What is wrong with it.
        reason: String,
        /// What to do, when there is something.
        hint: Option<String>,
    },
    /// The host is out of something: space, processes, addresses.
    #[error("the host has no {resource} left")]
    Exhausted {
        /// What ran out, such as `disk space`.
        resource: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The kernel or a service refused a step.
    #[error("{step} failed")]
    Refused {
        /// The step, such as `mount overlay on /`.
        step: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// The way out, when it is known.
        hint: Option<String>,
    },
    /// The agent did not answer within `after`.
    #[error("the agent of {id} did not answer within {after:?}")]
    AgentSilent {
        /// Whose agent.
        id: BoxId,
        /// How long was waited.
        after: std::time::Duration,
    },
    /// Another process has taken over the box with a later claim; nothing was done.
    #[error("another server has taken over the box {0}")]
    Fenced(BoxId),
    /// Something was begun, and then the engine was lost or told no more of it. It may be done, half done,
    /// or still be under way.
    #[error("{step} was begun, and what became of it is not known")]
    Unfinished {
        /// The step, such as `make the instance`.
        step: String,
        /// What was seen last.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do.
        hint: &'static str,
    },
    /// The engine itself cannot be reached; boxes keep their last known state. Of what was asked, nothing
    /// was begun.
    #[error("the engine cannot be reached")]
    Unreachable {
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The [`resource`](EngineError::Exhausted) that disks are made of.
pub const DISK_SPACE: &str = "disk space";

/// What to do when an engine was lost in the middle of something.
pub const LOST: &str = "when `boxherd engine check` says that it answers, try again: what is left of \
                        this try is removed first";

impl EngineError {
    /// A refused step without a known way out.
    pub fn refused(
        step: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Refused { step: step.into(), source: source.into(), hint: None }
    }

    /// The same where a step before it is done, so that it is not true any more that nothing was begun.
    #[must_use]
    pub fn after_all(self, step: &str) -> Self {
        match self {
            Self::Unreachable { source } => {
                Self::Unfinished { step: step.to_owned(), source, hint: LOST }
            }
            other => other,
        }
    }

    /// A stable code for scripts and wires.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchBox(_) => "no-such-box",
            Self::WrongState { .. } => "wrong-state",
            Self::NoSuchDisk(_) => "no-such-disk",
            Self::DiskInUse { .. } => "disk-in-use",
            Self::MountPath { .. } => "mount-path",
            Self::Unsupported(_) => "unsupported",
            Self::Image { .. } => "image",
            Self::Exhausted { .. } => "exhausted",
            Self::Refused { .. } => "refused",
            Self::AgentSilent { .. } => "agent-silent",
            Self::Fenced(_) => "fenced",
            Self::Unfinished { .. } => "unfinished",
            Self::Unreachable { .. } => "unreachable",
        }
    }

    /// What to do, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Image { hint, .. } | Self::Refused { hint, .. } => hint.as_deref(),
            Self::Exhausted { resource: DISK_SPACE, .. } => Some(
                "free space on the filesystem of the data folder: `boxherd rm`, `boxherd snapshot \
                 rm` and `boxherd image rm` do",
            ),
            Self::Unsupported(_) => Some(
                "`boxherd doctor` says what this host can do, `boxherd engine check` what a server can",
            ),
            Self::Unfinished { hint, .. } => Some(hint),
            Self::Unreachable { .. } => Some("`boxherd engine check` says whether it answers"),
            _ => None,
        }
    }
}
