//! The states of a box.
//!
//! ```text
//!             create                    stop / exit             start
//!  (none) ──► pending ─► starting ─► running ──────────► stopped ─────► starting
//!                 │          │       │  ▲ ▲
//!                 │          │ suspend│  │resume / any use wakes it
//!                 ▼          ▼       ▼  │ │
//!               failed ◄──────── suspended  hibernated (memory on disk)
//!  delete is legal in every state and always ends in: gone
//! ```
//!
//! What moves a box from one to the next is in [`crate::policy`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a box stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxState {
    /// Written down, nothing made yet.
    Pending,
    /// The engine is making or starting it.
    Starting,
    /// Its agent answers.
    Running,
    /// Frozen, memory in place.
    Suspended,
    /// Memory on disk, no process.
    Hibernated,
    /// No process; the disk is kept.
    Stopped,
    /// It could not be made or started; what there is can be looked at and deleted.
    Failed,
    /// A delete was accepted and is being finished.
    Deleting,
    /// Deleted. Nothing leads out of here.
    Gone,
}

impl BoxState {
    /// Whether an engine has something of the box that it can measure.
    #[must_use]
    pub const fn is_measured(self) -> bool {
        matches!(self, Self::Running | Self::Suspended | Self::Stopped)
    }

    /// Every state, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Suspended,
        Self::Hibernated,
        Self::Stopped,
        Self::Failed,
        Self::Deleting,
        Self::Gone,
    ];

    /// The stable text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Hibernated => "hibernated",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Gone => "gone",
        }
    }

    /// The state with that text form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for BoxState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a box is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// Somebody asked for it.
    Requested,
    /// `cmd` ended with this code and the restart policy was done with it.
    Exited {
        /// 0–255; 128 + N after signal N.
        code: i32,
    },
    /// The box ran out of memory and every process in it was killed.
    Oom,
    /// The agent ended although nobody asked.
    Agent,
    /// The host was restarted.
    HostReboot,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.pad("requested"),
            Self::Exited { code } => f.pad(&format!("exited:{code}")),
            Self::Oom => f.pad("oom"),
            Self::Agent => f.pad("agent"),
            Self::HostReboot => f.pad("host-reboot"),
        }
    }
}
