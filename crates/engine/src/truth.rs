//! What engines report: facts, not intents.

use std::net::IpAddr;

use boxherd_model::{BoxId, BoxName, StopReason, Timings};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A box was made, and nothing of it runs yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// The digest of its image; `None` for `host`, which has none.
    pub image_digest: Option<String>,
    /// Which member of a cluster has it; `None` where there is no cluster.
    pub location: Option<String>,
    /// What could not be had and was not insisted on, one sentence each.
    pub notes: Vec<String>,
    /// How long the phases took.
    pub timings: Timings,
}

/// A box runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Its addresses on its network.
    pub addresses: Vec<IpAddr>,
    /// What could not be had and was not insisted on, one sentence each.
    pub notes: Vec<String>,
    /// How long the phases took.
    pub timings: Timings,
}

/// What is true of one box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Which box.
    pub id: BoxId,
    /// The name the engine knows it by.
    pub name: BoxName,
    /// Where it stands.
    pub state: TruthState,
    /// Its addresses on its network.
    pub addresses: Vec<IpAddr>,
    /// What its users should know of it, one sentence each.
    pub notes: Vec<String>,
    /// Which member of a cluster has it; `None` where there is no cluster.
    pub location: Option<String>,
}

/// What is true of all boxes of an engine, as far as it can be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// What is true of every box that could be looked at.
    pub truths: Vec<Truth>,
    /// What machines are called that are there and could not be looked at, such as those of a member of
    /// a cluster that is offline. A box of which there is no truth may be one of them: nothing is
    /// known of it then, and not that it is gone.
    pub lost: Vec<String>,
}

/// Where a box stands, as the engine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TruthState {
    /// Half made: a `create` or `fork` did not end.
    Partial,
    /// It has processes.
    Running,
    /// Frozen, memory in place.
    Suspended,
    /// Memory on disk.
    Hibernated,
    /// No process.
    Stopped(StopReason),
}

/// What a box uses, measured from outside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Memory of processes and caches, in bytes.
    pub memory: Option<u64>,
    /// Processor time since it was started, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The writable layer, in bytes.
    pub disk: Option<u64>,
}

/// A piece of a console.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsoleChunk {
    /// The offset of the first byte of `data`. Later than asked for when the ring has moved on.
    pub start: u64,
    /// What was written there.
    pub data: Bytes,
    /// Where what is there ended when this was read: whoever reads up to here and no further ends,
    /// however much the box goes on to write.
    pub end: u64,
}

impl ConsoleChunk {
    /// Where to go on reading, in bytes since the box was made.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.start + self.data.len() as u64
    }
}
