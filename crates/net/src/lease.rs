//! What a box holds of a network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use boxherd_model::{BoxId, BoxName, EgressRule, NetworkName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Subnet;
use crate::names::{AnchorName, Generation, Group, PortName, Tag};

/// An address, a MAC and a policy, held by one box until it is released. It outlives stops of the
/// box and reboots of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    pub(crate) id: BoxId,
    pub(crate) name: BoxName,
    pub(crate) network: NetworkName,
    pub(crate) tag: Tag,
    pub(crate) index: u16,
    pub(crate) subnet: Subnet,
    pub(crate) slot: u16,
    pub(crate) mtu: u32,
    pub(crate) isolated: bool,
    pub(crate) egress: Option<Vec<EgressRule>>,
}

impl Lease {
    /// Whose lease it is.
    #[must_use]
    pub const fn id(&self) -> BoxId {
        self.id
    }

    /// The name by which other boxes of the network find it.
    #[must_use]
    pub const fn name(&self) -> &BoxName {
        &self.name
    }

    /// The network it is on.
    #[must_use]
    pub const fn network(&self) -> &NetworkName {
        &self.network
    }

    /// The box's addresses; today a single IPv4 address.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        vec![IpAddr::V4(self.address())]
    }

    /// The box's IPv4 address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.subnet.address(self.slot)
    }

    /// The next hop of everything the box sends.
    #[must_use]
    pub const fn gateway(&self) -> IpAddr {
        IpAddr::V4(self.subnet.gateway())
    }

    /// The only name server the box can reach, for its `resolv.conf`.
    #[must_use]
    pub const fn dns(&self) -> IpAddr {
        self.gateway()
    }

    /// The hardware address of `eth0` in the box.
    #[must_use]
    pub const fn mac(&self) -> Mac {
        Mac::of(self.address())
    }

    /// The hardware address of the gateway as the box sees it: the same on every port of a network.
    pub(crate) const fn gateway_mac(&self) -> Mac {
        Mac::of(self.subnet.gateway())
    }

    /// The largest packet the way out carries, in bytes.
    #[must_use]
    pub const fn mtu(&self) -> u32 {
        self.mtu
    }

    pub(crate) const fn anchor(&self) -> AnchorName {
        AnchorName { tag: self.tag, index: self.index }
    }

    /// The group of the box's device, which tells the firewall its policy.
    pub(crate) const fn group(&self) -> Group {
        Group { isolated: self.isolated, strict: self.egress.is_some() }
    }

    pub(crate) const fn port(&self, generation: Generation) -> PortName {
        PortName { tag: self.tag, index: self.index, slot: self.slot, generation }
    }
}

/// A hardware address; written `0a:62:68:00:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The locally administered address that goes with an address of a network. The firewall knows
    /// every such pair from the start, and so learns nothing when a box comes.
    pub(crate) const fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x0a, b'b', a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no hardware address");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        parts.next().is_none().then_some(Self(bytes)).ok_or_else(refused)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_round_trip() {
        let mac = Mac::of(Ipv4Addr::new(10, 64, 16, 2));
        assert_eq!(mac.to_string(), "0a:62:0a:40:10:02");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for text in
            ["", "fe:01:02:03:04", "fe:01:02:03:04:fe:00", "fe:1:02:03:04:fe", "zz:01:02:03:04:fe"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
