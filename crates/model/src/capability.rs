//! What an engine can do, as data.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that some engines can do and others cannot. The text form is stable: it appears in
/// errors, in `doctor` and on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capability {
    /// Freeze and thaw a box with its memory in place.
    Suspend,
    /// Copy a box's disk while it runs.
    Fork,
    /// Copy a box's memory too.
    LiveFork,
    /// Save memory to disk and bring it back.
    Hibernate,
    /// Keep a box's disk under a name and go back to it.
    Snapshot,
    /// Limit memory.
    MemoryLimit,
    /// Limit the number of processes.
    PidsLimit,
    /// Limit processor time.
    CpuLimit,
    /// Limit the size of the writable layer.
    DiskLimit,
    /// A bridge with addresses, NAT and names between boxes.
    Network,
    /// Networks made as they are asked for, which no box of another reaches. Where they are not, boxes of
    /// all users are in the network that whoever runs the engine's server gave them.
    PrivateNetworks,
    /// Default-deny with an allow-list of hosts.
    Egress,
    /// More than one user id inside the box.
    Uids,
    /// User namespaces and mounts inside the box.
    Nesting,
    /// The gVisor kernel between the box and the host's.
    Gvisor,
    /// Images other than the host's own files.
    Images,
    /// Disks that are attached to boxes and detached from them while they run.
    Disks,
    /// Take machines for boxes that are there already, and that somebody else made.
    Adopt,
    /// Options and devices from profiles of a server.
    Profiles,
    /// User data for cloud-init of the image.
    CloudInit,
    /// Say which member of a cluster has a box.
    Placement,
    /// Boxes that are virtual machines with a kernel of their own.
    VirtualMachines,
}

impl Capability {
    /// Every one there is.
    pub const ALL: [Self; 22] = [
        Self::Suspend,
        Self::Fork,
        Self::LiveFork,
        Self::Hibernate,
        Self::Snapshot,
        Self::MemoryLimit,
        Self::PidsLimit,
        Self::CpuLimit,
        Self::DiskLimit,
        Self::Network,
        Self::PrivateNetworks,
        Self::Egress,
        Self::Uids,
        Self::Nesting,
        Self::Gvisor,
        Self::Images,
        Self::Disks,
        Self::Adopt,
        Self::Profiles,
        Self::CloudInit,
        Self::Placement,
        Self::VirtualMachines,
    ];

    /// The stable text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Fork => "fork",
            Self::LiveFork => "live-fork",
            Self::Hibernate => "hibernate",
            Self::Snapshot => "snapshot",
            Self::MemoryLimit => "memory-limit",
            Self::PidsLimit => "pids-limit",
            Self::CpuLimit => "cpu-limit",
            Self::DiskLimit => "disk-limit",
            Self::Network => "network",
            Self::PrivateNetworks => "private-networks",
            Self::Egress => "egress",
            Self::Uids => "uids",
            Self::Nesting => "nesting",
            Self::Gvisor => "gvisor",
            Self::Images => "images",
            Self::Disks => "disks",
            Self::Adopt => "adopt",
            Self::Profiles => "profiles",
            Self::CloudInit => "cloud-init",
            Self::Placement => "placement",
            Self::VirtualMachines => "virtual-machines",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The capabilities of one engine instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapabilitySet(BTreeSet<Capability>);

impl CapabilitySet {
    /// Whether `capability` is in the set.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// In a stable order.
    pub fn iter(&self) -> impl Iterator<Item = Capability> + '_ {
        self.0.iter().copied()
    }

    /// The set without `capability`.
    #[must_use]
    pub fn without(mut self, capability: Capability) -> Self {
        self.0.remove(&capability);
        self
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}
