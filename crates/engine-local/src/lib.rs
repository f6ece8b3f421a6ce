//! The engine of this machine: boxes made of namespaces, control groups and mounts, by system calls
//! alone.
//!
//! It knows the rooms below it ([`boxherd_image`], [`boxherd_net`], `sys`) and what the agent wants
//! to be handed; it knows no store and no front door. Nothing it writes down is believed without a
//! look at the kernel.
//!
//! Start reading in [`LocalEngine`], then `start.rs` (what a start prepares), `helper/start.rs`
//! (what needs privileges) and `helper/child.rs` (the box's first process until it is the agent).
//! `docs/design/0003-local-runtime.md` says why it is done this way. Boxes with a kernel of their own
//! are in `sandbox.rs` and `helper/warden.rs`, and in `docs/design/0009-gvisor.md`.

mod capabilities;
mod cgroup;
mod checks;
mod copies;
mod core;
mod create;
mod data;
mod disks;
mod engine;
mod error;
mod fences;
mod handed;
mod helper;
mod identity;
mod images;
mod link;
mod process;
mod record;
mod root;
mod sandbox;
mod shortcut;
mod standstill;
mod start;
mod steps;
mod stop;
pub mod storage;
mod subids;
mod truth;
mod uids;

pub use boxherd_net::netd::NetdCommand;
pub use checks::host as host_checks;
pub use engine::LocalEngine;
pub use helper::Helper;
pub use steps::STEPS;
