//! The boxd wire (`boxd.api.v1.BoxdApi`): its messages, a client and a server trait, generated.
//!
//! Contract only: what the messages mean here is for `gateway-grpc` to say. A method that a server
//! does not implement answers `UNIMPLEMENTED` with its own name. Made from `proto/boxd.proto` by
//! `cargo run --manifest-path proto/generate/Cargo.toml`; do not edit `generated.rs`.

mod codec;
#[allow(clippy::all, clippy::pedantic)]
#[rustfmt::skip]
mod generated;

pub use codec::{Reader, ServerCodec};
pub use generated::*;
