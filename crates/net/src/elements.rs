//! What the sets of a network's tables hold of a box that has an egress list. Each key is the bytes
//! that the kernel compares, every field of it padded to 4 bytes, and begins with the box's address.

use std::net::Ipv4Addr;

use crate::Lease;
use crate::rules::{self, Range};

/// The sets that have elements of boxes.
pub(crate) const SETS: [&str; 4] = ["allowed", "allowed_ports", "pinned", "pinned_ports"];

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) set: &'static str,
    pub(crate) key: Vec<u8>,
    /// The last key of a range; the set is one of ranges.
    pub(crate) last: Option<Vec<u8>>,
    /// After how many milliseconds it goes by itself; the set is one with timeouts.
    pub(crate) timeout: Option<u64>,
}

impl Element {
    /// Whether it belongs to the box with that address.
    pub(crate) fn is_of(&self, address: Ipv4Addr) -> bool {
        self.key.starts_with(&address.octets())
    }
}

/// The addresses that the spec of a box lists.
pub(crate) fn listed(lease: &Lease) -> Vec<Element> {
    let rules = rules::allowed(lease.egress.as_deref().unwrap_or_default());
    let element = |rule: rules::Allowed| {
        let Range { first, last } = rule.range;
        Element {
            set: if rule.port.is_some() { "allowed_ports" } else { "allowed" },
            key: destination(lease.address(), first, rule.port),
            last: Some(destination(lease.address(), last, rule.port)),
            timeout: None,
        }
    };
    rules.into_iter().map(element).collect()
}

/// A box may reach an address for so many milliseconds, because it was the answer to a name that it
/// may ask for.
pub(crate) fn pinned(lease: &Lease, to: Ipv4Addr, port: Option<u16>, timeout: u64) -> Element {
    Element {
        set: if port.is_some() { "pinned_ports" } else { "pinned" },
        key: destination(lease.address(), to, port),
        last: None,
        timeout: Some(timeout),
    }
}

fn destination(from: Ipv4Addr, to: Ipv4Addr, port: Option<u16>) -> Vec<u8> {
    let mut key = [from.octets(), to.octets()].concat();
    if let Some(port) = port {
        key.extend_from_slice(&port.to_be_bytes());
        key.extend_from_slice(&[0; 2]);
    }
    key
}
