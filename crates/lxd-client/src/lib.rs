//! A client for the REST API of LXD and Incus, over a unix socket or HTTPS.
//!
//! It stands on its own: it knows no box, no engine and no other room of the house. What it offers
//! is what the API offers, with its names; what to do with it is decided elsewhere.
//!
//! * Connections are kept and reused, also for websockets; [`Client::warm`] opens some ahead.
//! * The server's certificate is trusted by comparison with the pinned one, and by nothing else.
//! * Operations are awaited on one events websocket, without polling.
//! * Several endpoints of one cluster stand in for each other.
//!
//! Start reading in `client.rs`, then `transport.rs` below it and `instances/mod.rs` above it.

mod client;
mod config;
mod dial;
mod endpoint;
mod envelope;
mod error;
mod events;
mod exec;
mod files;
mod identity;
mod images;
mod instances;
mod inventory;
mod null;
mod operations;
mod pool;
mod progress;
mod server;
mod snapshots;
mod state;
mod tls;
mod token;
mod transport;
mod trust;
mod url;
mod volumes;
mod websocket;

pub use client::{Client, Remote, Settings};
pub use config::{Config, Flavour, ImageRemote, Locations, RemoteEntry};
pub use endpoint::Endpoint;
pub use error::{Error, Result};
pub use exec::{Duplex, ExecRequest, LiveExec, Output, Recorded, Signals, Stdin, Terminal};
pub use files::{FileBody, FileMeta, Found, NewFile};
pub use identity::Identity;
pub use images::{Alias, ImageInfo, NewImage, imported};
pub use instances::{
    Devices, Etag, FullInstance, Instance, InstanceInfo, InstanceKind, InstancePut, NewInstance,
    Source, StateChange,
};
pub use inventory::{Member, Network, Profile, Project, StoragePool};
pub use operations::{Operation, OperationStatus};
pub use server::{Auth, Environment, Server};
pub use snapshots::{NewSnapshot, Snapshot};
pub use state::{Address, CpuState, DiskState, InstanceState, MemoryState, NetworkState};
pub use tls::Fingerprint;
pub use token::Token;
pub use trust::{Credential, enroll, server_certificate, server_of};
pub use volumes::{NewVolume, Volume};
