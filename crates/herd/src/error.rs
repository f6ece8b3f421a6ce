//! Why the herd refuses.

use boxherd_engine::EngineError;
use boxherd_link::LinkError;
use boxherd_model::{Address, Refusal, Request, StopReason};
use boxherd_store::StoreError;

/// Why a use case could not be served.
#[derive(Debug, thiserror::Error)]
pub enum HerdError {
    /// No such box.
    #[error("there is no box `{0}`")]
    NoSuchBox(Address),
    /// More than one engine, or more than one user, has a box of that name.
    #[error("`{name}` is the name of boxes on {}", .of.join(" and "))]
    Ambiguous {
        /// The name.
        name: String,
        /// The engines that have one, and the ids of those of other users.
        of: Vec<String>,
    },
    /// No engine of that name is configured.
    #[error("there is no engine `{0}`")]
    NoSuchEngine(String),
    /// The box has no such snapshot.
    #[error("`{of}` has no snapshot `{name}`")]
    NoSuchSnapshot {
        /// The box.
        of: String,
        /// The snapshot.
        name: String,
    },
    /// What is written down of something cannot be read: by a later release, or it was damaged.
    #[error("what is written down of {what} `{id}` cannot be read")]
    Unreadable {
        /// What it is, such as `template`.
        what: &'static str,
        /// Which one.
        id: boxherd_model::ThingId,
    },
    /// A program in the box that does something for us did not.
    #[error("`{program}` in the box said: {said}")]
    Program {
        /// Such as `cp`.
        program: &'static str,
        /// The end of its error output.
        said: String,
    },
    /// The caller has no such thing.
    #[error("there is no {what} `{name}`")]
    NoSuch {
        /// What it would be, such as `disk`.
        what: &'static str,
        /// Its name or id.
        name: String,
    },
    /// What was asked for makes no sense.
    #[error("`{field}` makes no sense: {reason}")]
    Invalid {
        /// Which part of it.
        field: &'static str,
        /// Why not, and what would.
        reason: String,
    },
    /// Nobody knows who asks.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The caller may not.
    #[error("{0}")]
    Denied(&'static str),
    /// The caller has as much as is allowed.
    #[error("the quota of {quota} is used up: {limit}")]
    Quota {
        /// Such as `boxes`.
        quota: &'static str,
        /// How much is allowed.
        limit: String,
    },
    /// The server was started without it.
    #[error("this server offers no {what}")]
    NotOffered {
        /// What it would be.
        what: &'static str,
        /// How to have it.
        hint: &'static str,
    },
    /// The system has no randomness.
    #[error("no random numbers can be had")]
    Randomness(#[source] std::io::Error),
    /// A token could not be signed.
    #[error("a token could not be signed: {0}")]
    Signature(String),
    /// The state of the box does not allow it.
    #[error("cannot {request} `{name}`")]
    Refused {
        /// The box.
        name: String,
        /// What was asked for.
        request: Request,
        /// Why not.
        #[source]
        refusal: Refusal,
    },
    /// The box is not as the caller took it to be.
    #[error("the spec of `{name}` is not the one that was expected")]
    Stale {
        /// The box.
        name: String,
    },
    /// Another process works on the box.
    #[error("another boxherd works on `{name}`")]
    Busy {
        /// The box.
        name: String,
    },
    /// The box could not be made or started. Nothing is left of it, or it is `deleting`.
    #[error("cannot create `{name}`")]
    Create {
        /// The box.
        name: String,
        /// What the engine said.
        #[source]
        source: EngineError,
    },
    /// The engine could not do it.
    #[error("cannot {op} `{name}`")]
    Engine {
        /// What was being done.
        op: &'static str,
        /// To which box.
        name: String,
        /// What the engine said.
        #[source]
        source: EngineError,
    },
    /// A command cannot begin as it was asked for, such as in a folder that is not there.
    #[error("cannot run a command in `{name}`")]
    NotBegun {
        /// The box.
        name: String,
        /// What the agent said.
        #[source]
        source: LinkError,
    },
    /// The agent of the box did not answer as it should.
    #[error("cannot talk to the agent of `{name}`")]
    Link {
        /// The box.
        name: String,
        /// What was seen.
        #[source]
        source: LinkError,
    },
    /// The box has stopped, or is gone, while something was done in it.
    #[error("`{name}` {}", ended(*reason))]
    Ended {
        /// The box.
        name: String,
        /// Why it stopped; `None` when it was deleted.
        reason: Option<StopReason>,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The locks cannot be used.
    #[error("cannot use the lock `{path}`")]
    Lock {
        /// Which one.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl HerdError {
    /// The error and its causes in one line.
    #[must_use]
    pub fn with_causes(&self) -> String {
        crate::reconcile::chain(self)
    }

    /// A stable code for scripts and wires.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchBox(_) => "no-such-box",
            Self::Ambiguous { .. } => "ambiguous",
            Self::NoSuchEngine(_) => "no-such-engine",
            Self::NoSuchSnapshot { .. } => "no-such-snapshot",
            Self::NoSuch { .. } => "no-such",
            Self::Unreadable { .. } => "store-corrupt",
            Self::Program { .. } => "program",
            Self::Invalid { .. } => "invalid",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Denied(_) => "denied",
            Self::Quota { .. } => "quota",
            Self::NotOffered { .. } => "not-offered",
            Self::Randomness(_) | Self::Signature(_) => "internal",
            Self::Refused { refusal, .. } => refusal.code(),
            Self::Stale { .. } => "stale",
            Self::Busy { .. } => "busy",
            Self::Create { source, .. } | Self::Engine { source, .. } => source.code(),
            Self::NotBegun { .. } => "refused",
            Self::Link { .. } => "agent",
            Self::Ended { .. } => "ended",
            Self::Store(source) => source.code(),
            Self::Lock { .. } => "lock",
        }
    }

    /// What to do, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSuchBox(_) => "`boxherd ls` lists the boxes",
            Self::Ambiguous { .. } => "write `ENGINE:NAME`, or the id",
            Self::NoSuchSnapshot { of, .. } => {
                return Some(format!("`boxherd snapshot ls {of}` lists those it has"));
            }
            Self::Refused { name, refusal, .. } => return Some(way_out(name, *refusal)),
            Self::Stale { .. } => "read it again, and ask for the change of that",
            Self::Busy { .. } => "try again when it is done",
            Self::Create { source, .. } | Self::Engine { source, .. } => source.hint()?,
            Self::Store(source) => source.hint()?,
            Self::Link { name, .. } => {
                return Some(format!("`boxherd restart {name}` gives the box a new agent"));
            }
            Self::NoSuchEngine(_) => "leave it out for the engine of this machine, `local`",
            Self::Unauthenticated(_) => "`boxherd key create` on the server makes an API key",
            Self::Denied(_) => "ask an administrator",
            Self::NotOffered { hint, .. } => hint,
            Self::Quota { .. } => "remove what is not needed, or ask an administrator for more",
            Self::Ended { reason: Some(StopReason::Oom), .. } => {
                "`--memory` of `create` and `run` says how much a box gets"
            }
            Self::Ended { .. }
            | Self::Lock { .. }
            | Self::NotBegun { .. }
            | Self::NoSuch { .. }
            | Self::Unreadable { .. }
            | Self::Program { .. }
            | Self::Invalid { .. }
            | Self::Randomness(_)
            | Self::Signature(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// The command that makes a request legal, where there is one.
fn way_out(name: &str, refusal: Refusal) -> String {
    match refusal {
        Refusal::NotRunning { .. } => format!("`boxherd start {name}` starts it"),
        Refusal::NotStopped { .. } => format!("`boxherd stop {name}` stops it"),
        Refusal::Failed => {
            format!("`boxherd show {name}` tells why, `boxherd rm {name}` removes it")
        }
        Refusal::InProgress { .. } | Refusal::Deleting | Refusal::Gone => refusal.hint().to_owned(),
    }
}

fn ended(reason: Option<StopReason>) -> String {
    match reason {
        Some(reason) => format!("stopped while it was used: {reason}"),
        None => "was deleted while it was used".to_owned(),
    }
}
