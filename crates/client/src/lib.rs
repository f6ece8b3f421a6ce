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
//! Start reading in `client.rs`, then `exec.rs`; `transport.rs` is below both.
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

mod boxes;
mod client;
mod endpoint;
mod error;
mod exec;
mod files;
mod quote;
mod tokens;
mod transport;

pub use self::boxes::{BoxInfo, Boxes, Logs, NewBox};
pub use self::client::{Builder, Client};
pub use self::error::{Error, Refusal};
pub use self::exec::{Command, Event, Output, PtySize, Resizer, Running, Stdin};
pub use self::files::{Entry, Files, Reader};

/// The largest message in either direction, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;
