//! An engine without isolation, for tests: the same [`Engine`](boxherd_engine::Engine) trait, the
//! same conformance suite, nothing needed of the host, and a fault at every step on request.
//!
//! A box is an entry in memory, a folder below a temporary one, and, while it runs, the real agent
//! on a thread of this process; its commands are ordinary child processes in that folder. So
//! nothing here holds a box apart from the host: never run anything in one that you would not run
//! on the host. What it cannot do it does not claim; see [`CAPABILITIES`].
//!
//! Start reading at [`FakeEngine`], then [`FaultPlan`].

mod console;
mod disk;
mod disks;
mod engine;
mod faults;
mod guest;
mod main_program;
mod members;
mod snapshots;
mod world;

pub use engine::{CAPABILITIES, FakeEngine};
pub use faults::{FaultPlan, STEPS, Trouble, When};
