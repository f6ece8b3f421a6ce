//! What `boxherd bench` measures: our figures, the kernel's floor, and the peers that are
//! installed, in one run and interleaved, so that every figure comes with a ratio that a busy
//! machine does not falsify.
//!
//! It knows no engine: it measures through a [`Front`], which the herd is, and servers of LXD through
//! a [`Server`]. Nothing here judges: the targets are printed beside what was
//! measured. Start reading in [`run`], then `contest.rs` (how contenders take turns), then
//! `stats.rs` (pure); of servers of LXD, in `lxd/mod.rs`.

mod boxes;
mod contest;
mod context;
mod delay;
mod files;
mod forks;
mod front;
mod groups;
mod herd;
mod load;
mod lxd;
mod machine;
mod memory;
mod nginx;
mod peers;
mod programs;
mod proxy;
mod report;
mod run;
mod server;
mod stats;
mod table;

pub use context::{Context, Options};
pub use front::Front;
pub use lxd::{LxdOptions, Open, Server, delay, run_lxd};
pub use machine::Machine;
pub use report::{Contest, Figure, PhaseFigure, Report, Unit};
pub use run::{BrokenOff, NAMES, Result, run};
pub use stats::Summary;
