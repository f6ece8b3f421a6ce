//! What is true of a box.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Address, BoxId, BoxSpec, BoxState, EngineName, OperationId, SnapshotId, SnapshotName,
    StopReason, Target, Timestamp, UserId,
};

/// Everything the herd knows of a box, for `show`, `ls` and the wires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxStatus {
    /// For ever.
    pub id: BoxId,
    /// What was asked for, with the current name and labels.
    pub spec: BoxSpec,
    /// The engine that has it.
    pub engine: EngineName,
    /// The user whose it is; `None` for boxes of the host's own command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// Where it stands.
    pub state: BoxState,
    /// Why it is stopped.
    pub reason: Option<StopReason>,
    /// Why it failed, for people.
    pub failure: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// The digest of its image; `None` for `host`, which has none.
    pub image_digest: Option<String>,
    /// Its addresses on its network.
    pub addresses: Vec<IpAddr>,
    /// Which member of a cluster has it, as it was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Its engine, or the member of a cluster that has it, does not answer: all of this is as it was
    /// seen last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreachable: bool,
    /// What could not be had and was not insisted on, one sentence each.
    pub notes: Vec<String>,
    /// The operation that made it or last changed it.
    pub last_operation: Option<OperationId>,
    /// How long the phases of that operation took.
    pub timings: Timings,
}

impl BoxStatus {
    /// What names this box and no other, whatever it is called.
    #[must_use]
    pub fn address(&self) -> Address {
        Address { engine: Some(self.engine.clone()), target: Target::Id(self.id) }
    }
}

/// The phases of an operation in the order they happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timings(pub Vec<Phase>);

/// One phase of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Such as `image`, `rootfs`, `clone`, `agent`.
    pub name: String,
    /// How long it took, in microseconds.
    pub micros: u64,
}

impl Timings {
    /// Adds a phase.
    pub fn push(&mut self, name: &str, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.push(Phase { name: name.to_owned(), micros });
    }

    /// The sum of all phases.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.0.iter().map(|phase| phase.micros).sum())
    }
}

impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for Phase { name, micros } in &self.0 {
            write!(f, "{between}{name} {}.{:02} ms", micros / 1000, micros % 1000 / 10)?;
            between = ", ";
        }
        Ok(())
    }
}

/// A saved disk of a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// For ever.
    pub id: SnapshotId,
    /// Unique within the box.
    pub name: SnapshotName,
    /// Whose disk it is.
    pub box_id: BoxId,
    /// When it was taken.
    pub created: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_told_in_their_order() {
        let mut timings = Timings::default();
        assert_eq!(timings.to_string(), "");
        timings.push("rootfs", Duration::from_micros(259));
        timings.push("clone", Duration::from_micros(12_034));
        assert_eq!(timings.to_string(), "rootfs 0.25 ms, clone 12.03 ms");
    }
}
