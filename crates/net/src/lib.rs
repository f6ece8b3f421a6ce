//! The networks of the boxes on this machine: addresses, ports, the firewall, and `netd`, which
//! answers DNS.
//!
//! A box's port is a *routed* veth pair: one end is `eth0` in the box, the other is a device of
//! its own on the host with a route to the box's single address (`docs/design/0006-network.md`
//! says why no bridge carries it). A network is a subnet, an nftables table, and an anchor device
//! that holds the gateway's address; it is made once. A box then costs a file and a few netlink
//! messages; no process is spawned for it and the firewall is not touched.
//!
//! The room knows the model's words and the kernel. It knows nothing of images, cgroups or agents.
//!
//! Start reading in [`Networks`], then `ruleset` (what the firewall says), then [`netd`].

mod elements;
mod error;
mod folder;
mod lease;
mod loopback;
mod make;
mod names;
pub mod netd;
mod netlink;
mod networks;
mod nft;
mod route;
mod rules;
mod ruleset;
mod subnet;

pub use error::NetError;
pub use lease::{Lease, Mac};
pub use loopback::raise_loopback;
pub use networks::Networks;
pub use subnet::Subnet;
