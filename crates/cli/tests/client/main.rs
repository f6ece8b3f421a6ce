//! The SDK for Rust and `boxherd --server` against `boxherd serve` with real boxes.

mod command_line;
mod sdk;
mod server;

#[allow(dead_code, reason = "not every target needs all of it")]
#[path = "../common/lab.rs"]
mod lab;
#[path = "../it/wait.rs"]
#[allow(dead_code, reason = "not every target needs all of it")]
mod wait;
