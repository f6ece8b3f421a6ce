//! The SDK for Rust: boxes of a `boxherd serve`, or of another server that speaks the boxd wire.
//!
//! It knows the wire (`boxd-api`) and nothing else of Boxherd: no engine, no store, no herd. A
//! [`Client`] holds one HTTP/2 connection, made when it is needed and made again when it is lost;
//! clones share it. An API key is exchanged for a token, which is renewed before it ends.
//!
//! Nothing is done twice: calls that only look are repeated when the connection is lost, calls that
//! change something only when they certainly never left this machine. [`Error::Unavailable`] says
//! which of both it was.
//!
//! Start reading in `client.rs`, then `exec.rs`; `transport.rs` is below both. Every noun of the API
//! has a file: `disks.rs`, `proxies.rs` and so on. Programs without an event loop use [`blocking`].
//!
//! ```no_run
//! # async fn example() -> Result<(), boxherd_client::Error> {
//! use boxherd_client::{Client, Command, NewBox};
//!
//! let client = Client::builder()
//!     .endpoint("unix:/run/boxherd.sock")
//!     .api_key("bxd_…")
//!     .connect()
//!     .await?;
//! let boxes = client.boxes();
//! boxes.create(NewBox::named("web")).await?;
//! let output = boxes.exec("web", Command::argv(["uname", "-r"])).await?.output().await?;
//! assert_eq!(output.code, 0);
//! boxes.destroy("web").await?;
//! # Ok(())
//! # }
//! ```

pub mod blocking;

mod account;
mod box_info;
mod boxes;
mod builder;
mod checkpoints;
mod client;
mod command;
mod dial;
mod disks;
mod domains;
mod embedded;
mod endpoint;
mod env;
mod error;
mod exchange;
mod exec;
mod files;
mod images;
mod kept;
mod keys;
mod login;
mod machine;
mod networks;
mod ports;
mod proxies;
mod quote;
mod sending;
mod shape;
mod snapshots;
mod tape;
mod templates;
mod tokens;
mod transport;
mod trees;
mod uplink;
mod usage;
mod users;
mod variables;

pub use tonic::Code;

pub use self::account::{Account, ServerConfig};
pub use self::box_info::{BoxInfo, NewBox, Sizes, Volume};
pub use self::boxes::{Boxes, Logs};
pub use self::builder::Builder;
pub use self::checkpoints::{Checkpoint, Checkpoints};
pub use self::client::Client;
pub use self::command::{Command, PtySize};
pub use self::dial::{Incoming, Outgoing};
pub use self::disks::{AttachedDisk, Disk, Disks};
pub use self::domains::{Domain, Domains};
pub use self::error::{Error, Refusal};
pub use self::exec::{Event, Output, Resizer, Running, Stdin};
pub use self::files::{Entry, Files, Reader};
pub use self::images::{Image, ImageStep, Images};
pub use self::keys::{Key, Keys, NewKey};
pub use self::machine::{MachineSpec, Package, SpecUpdate, SpecUpdated};
pub use self::networks::{Network, Networks};
pub use self::ports::{ExposedPort, Ports};
pub use self::proxies::{Proxies, Proxy};
pub use self::shape::Resized;
pub use self::snapshots::{Snapshot, Snapshots};
pub use self::templates::{Template, Templates};
pub use self::tokens::{NewToken, Token, Tokens};
pub use self::usage::Usage;
pub use self::users::{Grant, Quota, User, UserChange, Users};
pub use self::variables::{Scope, Secrets, Variable, Variables};

/// What the README shows is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The largest message in either direction, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;
