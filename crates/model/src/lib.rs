//! The words of Boxherd as types: names, ids, sizes, what a user asks for ([`BoxSpec`]), what is
//! true ([`BoxStatus`]), and the pure rules that say what may happen next ([`policy`]).
//!
//! This crate performs no I/O and reads no clock; everything else depends on it, and it depends on
//! nothing of ours. Every newtype validates in its constructor, so a value that exists is valid.
//!
//! Start reading in [`state`], then [`policy`], then [`spec`].

mod account;
mod address;
mod admission;
mod capability;
mod disk;
mod grant;
mod id;
mod image;
mod machine;
mod name;
mod network;
pub mod policy;
mod progress;
mod selector;
mod size;
pub mod spec;
pub mod state;
mod status;
mod text;
mod time;
pub mod usage;

pub use account::{Caller, Quota};
pub use address::{Address, AddressError, Target};
pub use admission::{Excess, Holdings, Room, has_processes};
pub use capability::{Capability, CapabilitySet};
pub use disk::{DiskMount, LARGEST_DISK, MountPath, MountPathError, SMALLEST_DISK};
pub use grant::{Grant, GrantError};
pub use id::{
    BoxId, DiskId, KeyId, OperationId, ParseIdError, SnapshotId, ThingId, TokenId, UserId,
};
pub use image::{ImageInfo, ImageRef, ImageRefError, ImageSource};
pub use machine::{CloudInit, CloudInitError, MemberName, ProfileName, ServerNameError};
pub use name::{BoxName, EngineName, NameError, NetworkName, SnapshotName, UserName};
pub use network::{Cidr, EgressHost, EgressRule, EgressRuleError, NetworkSpec};
pub use policy::{Refusal, Request};
pub use progress::{Progress, ProgressEvent, Silent};
pub use selector::{Selector, SelectorError};
pub use size::{ByteSize, SizeError};
pub use spec::{
    BoxSpec, CpuLimit, CpuLimitError, DEFAULT_PIDS, Deadline, Isolation, Labels, Limits,
    RestartPolicy, RestartPolicyError, Timers,
};
pub use state::{BoxState, StopReason};
pub use status::{BoxStatus, Phase, SnapshotInfo, Timings};
pub use time::Timestamp;
