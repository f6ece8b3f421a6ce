//! The use cases: what every front door and the command line call to make and drive boxes.
//!
//! The herd asks [`boxherd_model::policy`] what is legal, writes an operation into the store before
//! its first side effect, asks the engine, and writes down what came of it. It knows engines only by
//! their trait, and no SQL, no terminal, no wire.
//!
//! A process can die anywhere. An operation names the *session* that does it, and a session is a
//! lock that the kernel drops with the process ([`locks`]); the next herd that opens finds
//! operations whose session is dead and finishes or undoes them (`recover`).
//!
//! Start reading in [`herd`](Herd), then `create`, then `recover`.

mod accounts;
mod activity;
mod admission;
mod adopt;
mod belongings;
mod change;
mod config;
mod console;
mod create;
mod deadline;
mod delete;
mod disks;
mod error;
mod fork;
mod forwards;
mod guest;
mod herd;
mod images;
mod journal;
mod leases;
mod links;
pub mod locks;
mod lookup;
mod machine;
mod metrics;
mod names;
mod networks;
mod proxies;
mod reconcile;
mod recover;
mod rename;
mod reshape;
mod saved;
mod snapshots;
mod templates;
#[cfg(test)]
mod tests;
mod timers;
mod usage;
mod variables;

pub use accounts::{Audited, NewKey, Secret, Source, Token, Whoami};
pub use activity::{Found, InUse};
pub use admission::ExecSlot;
pub use boxherd_model::Selector;
pub use boxherd_store::UserRecord;
pub use config::HerdConfig;
pub use console::Follow;
pub use create::Create;
pub use disks::{Attachment, Disk, Volume};
pub use error::HerdError;
pub use fork::Fork;
pub use forwards::{Forward, ForwardRange, Protocol};
pub use herd::Herd;
pub use images::ImageFiles;
pub use journal::STEPS;
pub use lookup::Listing;
pub use machine::{
    Machine, MachineChange, MachineSpec, MachineUpdate, Package, PackageState, UpdateMachine,
};
pub use networks::Network;
pub use proxies::{
    Domain, Host, MOST_PROXIES, Port, Proxy, ProxyChange, Route, check_proxy_name, likeliest,
};
pub use reconcile::Repairs;
pub use saved::Saved;
pub use templates::Template;
pub use usage::Used;
pub use variables::{Scope, Variable, Worth};
