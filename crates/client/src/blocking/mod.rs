//! The same for programs without an event loop: the names and the arguments are those of the rest of
//! this crate, and every call waits for its end.
//!
//! Each [`Client`] has an event loop of its own, in a thread, which ends with the last of what was
//! made from it. Called from another event loop, a method panics, since it would stop that one.
//!
//! ```no_run
//! # fn example() -> Result<(), boxherd_client::Error> {
//! use boxherd_client::blocking::Client;
//! use boxherd_client::{Command, NewBox};
//!
//! let client = Client::connect("http://127.0.0.1:9443", "bxd_…")?;
//! let boxes = client.boxes();
//! boxes.create(NewBox::named("web"))?;
//! let output = boxes.exec("web", Command::argv(["uname"]))?.output()?;
//! assert_eq!(output.stdout, b"Linux\n");
//! boxes.destroy("web")?;
//! # Ok(())
//! # }
//! ```
//!
//! `tests/surface.rs` holds both to the same names.

mod client;
mod handles;
mod reading;
mod running;
mod wait;

pub use self::client::{Builder, Client};
pub use self::handles::{
    Boxes, Checkpoints, Disks, Domains, Files, Images, Keys, Networks, Ports, Proxies, Secrets,
    Snapshots, Templates, Tokens, Users, Variables,
};
pub use self::running::{Incoming, Logs, Outgoing, Reader, Resizer, Running, Stdin};
