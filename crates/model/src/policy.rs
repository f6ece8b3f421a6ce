//! The one place that says whether a request is legal in a state and what follows.
//!
//! Everything here is a pure function over [`BoxState`]. The herd asks [`decide`] before it acts
//! and feeds what happened to [`after`]; no other code compares states.

use std::fmt;

use crate::state::{BoxState, StopReason};

/// What a caller wants of a box that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// Boot it.
    Start,
    /// End every process, keep the disk.
    Stop,
    /// Stop, then start.
    Restart,
    /// Freeze, memory in place.
    Suspend,
    /// Thaw, or bring memory back from disk.
    Resume,
    /// Save memory to disk and end every process.
    Hibernate,
    /// Copy it.
    Fork,
    /// Keep its disk under a name.
    Snapshot,
    /// Put its disk back to a snapshot.
    Restore,
    /// Run something in it or move files.
    Use,
    /// Give it another name.
    Rename,
    /// Change its labels.
    Label,
    /// Give it other limits or another network.
    Change,
    /// Attach a disk to it.
    Disk,
    /// Make it gone.
    Delete,
}

impl Request {
    /// Every request, for tables and tests.
    pub const ALL: [Self; 15] = [
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Suspend,
        Self::Resume,
        Self::Hibernate,
        Self::Fork,
        Self::Snapshot,
        Self::Restore,
        Self::Use,
        Self::Rename,
        Self::Label,
        Self::Change,
        Self::Disk,
        Self::Delete,
    ];
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Hibernate => "hibernate",
            Self::Fork => "fork",
            Self::Snapshot => "snapshot",
            Self::Restore => "restore",
            Self::Use => "use",
            Self::Rename => "rename",
            Self::Label => "label",
            Self::Change => "change",
            Self::Disk => "attach a disk to",
            Self::Delete => "delete",
        })
    }
}

/// What the herd does with a legal request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Ask the engine.
    Proceed,
    /// Resume the box first, then ask the engine.
    WakeThenProceed,
    /// It is so already; answer success and touch nothing.
    AlreadySo,
}

/// Why a request is not legal now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The box does not run, and the request needs it to.
    #[error("the box is {state}, not running")]
    NotRunning {
        /// Where the box stands.
        state: BoxState,
    },
    /// The box runs or is frozen, and the request needs it stopped.
    #[error("the box is {state}, not stopped")]
    NotStopped {
        /// Where the box stands.
        state: BoxState,
    },
    /// Another operation is making or starting the box.
    #[error("the box is still {state}")]
    InProgress {
        /// Where the box stands.
        state: BoxState,
    },
    /// The box could not be made or started.
    #[error("the box failed to start")]
    Failed,
    /// The box is being deleted.
    #[error("the box is being deleted")]
    Deleting,
    /// The box is no more.
    #[error("the box is gone")]
    Gone,
}

impl Refusal {
    /// A stable code for scripts and wires.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotRunning { .. } => "not-running",
            Self::NotStopped { .. } => "not-stopped",
            Self::InProgress { .. } => "in-progress",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Gone => "gone",
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotRunning { .. } => "start the box first",
            Self::NotStopped { .. } => "stop the box first",
            Self::InProgress { .. } => "wait for the other operation, or delete the box",
            Self::Failed => "`boxherd show` tells why, `boxherd rm` removes it",
            Self::Deleting | Self::Gone => "make a new box",
        }
    }
}

/// Something that happened to a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The engine began to make or start it.
    Starting,
    /// Its agent answered.
    Started,
    /// It was frozen.
    Suspended,
    /// It was thawed.
    Resumed,
    /// Its memory is on disk.
    Hibernated,
    /// No process is left.
    Stopped(StopReason),
    /// It could not be made or started.
    Failed,
    /// A delete was accepted.
    Deleting,
    /// The engine has nothing of it any more.
    Gone,
}

/// Whether `request` is legal in `state`, and how it is served.
///
/// # Errors
///
/// The [`Refusal`] that says why it is not.
pub fn decide(state: BoxState, request: Request) -> Result<Decision, Refusal> {
    use BoxState as S;
    use Request as R;
    match (state, request) {
        // Delete is legal everywhere, and deleting twice is deleting.
        (S::Gone, R::Delete) => Ok(Decision::AlreadySo),
        (_, R::Delete) => Ok(Decision::Proceed),
        (S::Gone, _) => Err(Refusal::Gone),
        (S::Deleting, _) => Err(Refusal::Deleting),
        (_, R::Label) => Ok(Decision::Proceed),
        (S::Pending | S::Starting, _) => Err(Refusal::InProgress { state }),
        (_, R::Rename | R::Disk) => Ok(Decision::Proceed),
        // What has no process takes it at its next start.
        (S::Failed | S::Stopped, R::Change) => Ok(Decision::Proceed),
        (_, R::Change) => Err(Refusal::NotStopped { state }),
        // What failed once may be tried again.
        (S::Failed | S::Stopped, R::Start | R::Restart) => Ok(Decision::Proceed),
        (S::Failed, R::Stop) => Ok(Decision::Proceed),
        (S::Failed, _) => Err(Refusal::Failed),
        (S::Running, R::Start | R::Resume) => Ok(Decision::AlreadySo),
        (S::Running, R::Restore) => Err(Refusal::NotStopped { state }),
        (S::Running, _) => Ok(Decision::Proceed),
        (S::Suspended, R::Suspend) => Ok(Decision::AlreadySo),
        (S::Suspended, R::Start) => Ok(Decision::WakeThenProceed),
        (S::Suspended, R::Use | R::Hibernate) => Ok(Decision::WakeThenProceed),
        (S::Suspended, R::Restore) => Err(Refusal::NotStopped { state }),
        (S::Suspended, _) => Ok(Decision::Proceed),
        (S::Hibernated, R::Hibernate) => Ok(Decision::AlreadySo),
        (S::Hibernated, R::Start | R::Use | R::Suspend) => Ok(Decision::WakeThenProceed),
        (S::Hibernated, _) => Ok(Decision::Proceed),
        (S::Stopped, R::Stop) => Ok(Decision::AlreadySo),
        (S::Stopped, R::Fork | R::Snapshot | R::Restore) => Ok(Decision::Proceed),
        (S::Stopped, R::Suspend | R::Resume | R::Hibernate | R::Use) => {
            Err(Refusal::NotRunning { state })
        }
    }
}

/// The state after `event`, or `None` when the event cannot happen there and is to be looked into
/// rather than believed.
#[must_use]
pub fn after(state: BoxState, event: Event) -> Option<BoxState> {
    use BoxState as S;
    use Event as E;
    Some(match (state, event) {
        (_, E::Gone) => S::Gone,
        (S::Gone, _) => return None,
        (_, E::Deleting) => S::Deleting,
        (S::Deleting, _) => return None,
        (S::Pending | S::Stopped | S::Failed | S::Starting, E::Starting) => S::Starting,
        (S::Pending | S::Starting, E::Failed) => S::Failed,
        (S::Starting | S::Running, E::Started) => S::Running,
        (S::Running | S::Suspended, E::Suspended) => S::Suspended,
        (S::Suspended | S::Hibernated | S::Running, E::Resumed) => S::Running,
        (S::Running | S::Suspended, E::Hibernated) => S::Hibernated,
        (S::Pending, E::Stopped(_)) => return None,
        (_, E::Stopped(_)) => S::Stopped,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
