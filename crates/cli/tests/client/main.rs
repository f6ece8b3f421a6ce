//! The SDK for Rust and `boxherd --server` against `boxherd serve` with real boxes.

mod account;
mod acme;
mod blocking;
mod checkpoints;
mod command_line;
mod command_line_nouns;
mod connect;
mod continued;
mod copies;
mod disks;
mod domains;
mod images;
mod keys;
mod lxd;
mod machine;
mod networks;
mod ports;
mod proxies;
mod sdk;
mod server;
mod shape;
mod snapshots;
mod store;
mod templates;
mod tokens;
#[cfg(feature = "otel")]
mod traces;
mod trees;
mod users;
mod variables;

#[allow(dead_code, reason = "not every target needs all of it")]
#[path = "../common/lab.rs"]
mod lab;
#[path = "../common/rootfs.rs"]
mod rootfs;
#[path = "../it/wait.rs"]
#[allow(dead_code, reason = "not every target needs all of it")]
mod wait;
