//! Boxes that are run by someone hostile: what root in a box tries, and what it gets.
//!
//! Every test runs the real program on a real box. System calls without a command line tool are
//! made with perl's `syscall`, which every Debian has (`perl-base` is essential).

mod agents;
mod copies;
mod disks;
mod exhaustion;
mod kernel;
#[path = "../common/lab.rs"]
mod lab;
mod neighbours;
mod networks;
mod ordinary;
mod quotas;
mod rogue;
#[path = "../it/wait.rs"]
mod wait;
