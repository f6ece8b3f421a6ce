//! The link: one byte stream between the host and an agent, and everything that travels on it.
//!
//! Read [`frame`] (what is on the wire), then [`mux`] (the protocol as a pure state machine, which
//! keeps a hostile agent bounded), then [`conn`] (its tokio adapter), then [`client`] (what the
//! rest of Boxherd calls). The agent uses [`conn`] from the other end. Why there is a protocol of
//! our own is in `docs/design/0002-link.md`.
//!
//! The host believes nothing an agent says beyond what the types here enforce: frames, messages,
//! streams and waiting bytes are bounded, and no path from a box is used on the host.

pub mod agent_config;
pub mod channel;
pub mod client;
pub mod conn;
pub mod console_ring;
mod convert;
mod error;
pub mod frame;
pub mod mux;
pub mod proto;
mod types;
pub mod users;
pub mod window;

pub use client::{
    Exec, ExecControl, ExecStdin, FileReader, FileWriter, Files, Link, PortStream, Relink,
    Unacknowledged,
};
pub use error::LinkError;
pub use mux::Violation;
pub use types::*;
