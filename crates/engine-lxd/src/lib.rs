//! Boxes that are instances of an LXD or Incus server, or of a cluster of them.
//!
//! The server does the lifecycle. What happens *in* a box goes over our own link: the agent is put into
//! the instance once, started through one exec whose standard input and output are the link, and stays
//! for a while when that ends, so that a command costs one round trip (`guest`). Where the agent does not
//! run, the server stands in for it (`native`).
//!
//! Every instance that is made here has in its configuration whose it is (`user.boxherd.*`); others are
//! not looked at. Nothing is kept here but what can be found out again: which name an id has.
//!
//! It must not know the herd or the command line. Start reading in `engine.rs`; `spec.rs` and
//! `state.rs` translate and are pure.

mod adopt;
mod archive;
mod changes;
mod console;
mod copies;
mod disks;
mod early;
mod engine;
mod error;
mod fences;
mod guest;
mod images;
mod machine;
mod marks;
mod names;
mod native;
mod origin;
mod project;
mod put;
mod reach;
mod server;
mod spec;
mod state;
mod upload;

pub use engine::LxdEngine;
pub use server::{Facts, Settings};
