//! Which addresses a network has.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use boxherd_model::Cidr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Leading bits that the addresses of one network share.
pub(crate) const PREFIX: u8 = 20;

/// Where the subnets of networks are taken from: 10.64.0.0/10, 1,024 subnets of 4,096 addresses.
const POOL: u32 = 0x0a40_0000;
const POOL_SUBNETS: u32 = 1 << (PREFIX - 10);

/// The first and the last number of an address that a box can have: the gateway has 1, the first
/// and last address of a subnet are nobody's.
pub(crate) const SLOTS: std::ops::RangeInclusive<u16> = 2..=(1 << (32 - PREFIX)) - 2;

/// The 4,096 IPv4 addresses of a network; written `10.64.16.0/20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet(u32);

impl Subnet {
    /// The subnet number `index` of the pool, counted from the start and wrapping round.
    #[must_use]
    pub(crate) const fn of_pool(index: u32) -> Self {
        Self(POOL + ((index % POOL_SUBNETS) << (32 - PREFIX)))
    }

    /// The first subnet from `start` on that overlaps with none of `taken`; `None` when all do.
    #[must_use]
    pub(crate) fn choose(start: u32, taken: &[Cidr]) -> Option<Self> {
        (0..POOL_SUBNETS)
            .map(|step| Self::of_pool(start.wrapping_add(step)))
            .find(|subnet| !taken.iter().any(|range| subnet.overlaps(range)))
    }

    /// Whether an address belongs to both. A default route overlaps with nothing.
    #[must_use]
    pub(crate) fn overlaps(self, range: &Cidr) -> bool {
        let std::net::IpAddr::V4(address) = range.address else { return false };
        if range.prefix == 0 {
            return false;
        }
        let shared = u32::from(range.prefix.min(PREFIX));
        let mask = u32::MAX << (32 - shared);
        self.0 & mask == address.to_bits() & mask
    }

    /// The address with that number.
    #[must_use]
    pub const fn address(self, slot: u16) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0 + slot as u32)
    }

    /// The address of the host on this network, which also answers DNS.
    #[must_use]
    pub const fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    /// The number of an address of this subnet that a box can have.
    #[must_use]
    pub fn slot_of(self, address: Ipv4Addr) -> Option<u16> {
        let slot = u16::try_from(address.to_bits().checked_sub(self.0)?).ok()?;
        SLOTS.contains(&slot).then_some(slot)
    }

    /// Whether the address is one of these.
    #[must_use]
    pub(crate) const fn holds(self, address: Ipv4Addr) -> bool {
        address.to_bits() >> (32 - PREFIX) == self.0 >> (32 - PREFIX)
    }

    /// Its first address.
    #[must_use]
    pub const fn base(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{PREFIX}", self.base())
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no subnet of {} addresses", 1 << (32 - PREFIX));
        let cidr: Cidr = text.parse().map_err(|_| refused())?;
        match cidr {
            Cidr { address: std::net::IpAddr::V4(address), prefix: PREFIX }
                if address.to_bits() << PREFIX == 0 =>
            {
                Ok(Self(address.to_bits()))
            }
            _ => Err(refused()),
        }
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(ranges: &[&str]) -> Vec<Cidr> {
        ranges.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_subnet_avoids_what_the_host_routes() {
        assert_eq!(Subnet::choose(0, &[]).unwrap().to_string(), "10.64.0.0/20");
        let busy = taken(&["0.0.0.0/0", "10.64.3.0/24", "10.64.16.0/20", "fd00::/8"]);
        assert_eq!(Subnet::choose(0, &busy).unwrap().to_string(), "10.64.32.0/20");
        assert_eq!(Subnet::choose(1023, &taken(&["10.127.240.1"])).unwrap(), Subnet::of_pool(0));
        assert_eq!(Subnet::choose(5, &taken(&["10.0.0.0/8"])), None);
    }

    #[test]
    fn addresses_have_numbers() {
        let subnet = Subnet::of_pool(1);
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 64, 16, 1));
        assert_eq!(subnet.slot_of(subnet.gateway()), None);
        assert_eq!(subnet.slot_of(Ipv4Addr::new(10, 64, 31, 255)), None);
        assert_eq!(subnet.slot_of(Ipv4Addr::new(10, 64, 0, 5)), None);
    }

    proptest! {
        #[test]
        fn what_prints_parses(index in 0u32..2000, slot in SLOTS) {
            let subnet = Subnet::of_pool(index);
            prop_assert_eq!(subnet.to_string().parse(), Ok(subnet));
            prop_assert_eq!(subnet.slot_of(subnet.address(slot)), Some(slot));
        }
    }
}
