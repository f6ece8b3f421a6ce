//! What the sets of a network's tables hold of a box. Each key is the bytes that the kernel
//! compares, every field of it padded to 4 bytes.

use std::net::Ipv4Addr;

use crate::names::PortName;
use crate::rules::{self, Range};
use crate::{Lease, Mac};

/// The family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// ARP.
    Arp,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) family: Family,
    pub(crate) set: &'static str,
    pub(crate) key: Vec<u8>,
    /// The last key of a range; the set is one of ranges.
    pub(crate) last: Option<Vec<u8>>,
    /// After how many milliseconds it goes by itself; the set is one with timeouts.
    pub(crate) timeout: Option<u64>,
}

impl Element {
    fn plain(set: &'static str, key: Vec<u8>) -> Self {
        Self { family: Family::Inet, set, key, last: None, timeout: None }
    }
}

/// The port, the hardware address and the address of a box belong together: one element for
/// packets, one for ARP.
pub(crate) fn of_port(lease: &Lease, port: PortName) -> Vec<Element> {
    let mut key = port.to_string().into_bytes();
    key.resize(16, 0);
    push_mac(&mut key, lease.mac);
    key.extend_from_slice(&lease.address().octets());
    let inet = Element::plain("ports", key);
    let arp = Element { family: Family::Arp, ..inet.clone() };
    vec![inet, arp]
}

/// What the spec of a box says, whichever port it has.
pub(crate) fn of_policy(lease: &Lease) -> Vec<Element> {
    let mut elements = Vec::new();
    if lease.isolated {
        elements.push(Element::plain("isolated", lease.address().octets().to_vec()));
    }
    if let Some(egress) = &lease.egress {
        elements.push(Element::plain("strict", mac_key(lease.mac)));
        elements.extend(rules::allowed(egress).iter().map(|rule| allowed(lease.mac, *rule)));
    }
    elements
}

/// A box may reach an address that was the answer to a name it may ask for.
pub(crate) fn pinned(mac: Mac, to: Ipv4Addr, port: Option<u16>, timeout: u64) -> Element {
    let set = if port.is_some() { "pinned_ports" } else { "pinned" };
    Element { timeout: Some(timeout), ..Element::plain(set, destination(mac, to, port)) }
}

fn allowed(mac: Mac, rule: rules::Allowed) -> Element {
    let Range { first, last } = rule.range;
    let set = if rule.port.is_some() { "allowed_ports" } else { "allowed" };
    Element {
        last: Some(destination(mac, last, rule.port)),
        ..Element::plain(set, destination(mac, first, rule.port))
    }
}

fn destination(mac: Mac, address: Ipv4Addr, port: Option<u16>) -> Vec<u8> {
    let mut key = mac_key(mac);
    key.resize(8, 0);
    key.extend_from_slice(&address.octets());
    if let Some(port) = port {
        key.extend_from_slice(&port.to_be_bytes());
        key.extend_from_slice(&[0; 2]);
    }
    key
}

fn mac_key(mac: Mac) -> Vec<u8> {
    mac.0.to_vec()
}

fn push_mac(key: &mut Vec<u8>, mac: Mac) {
    key.extend_from_slice(&mac.0);
    key.extend_from_slice(&[0; 2]);
}
