//! What things of ours are called in the kernel, so that two data folders on one machine do not
//! get in each other's way. A device name has at most 15 bytes:
//!
//! ```text
//! bh 1a2b3 001          an anchor:  bh, the installation's tag, the network's number
//! bh 1a2b3 001 - 0ff 0  a port:     …, the slot of its address, a generation
//! ```
//!
//! The generation exists because a device goes some 20 ms after the box whose port it was: a box
//! that is started again at once needs another name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What every device of every installation begins with.
pub(crate) const ANY_INSTALLATION: &str = "bh";

/// The most networks of one installation: their number has three hex digits.
pub(crate) const MAX_NETWORKS: u16 = 0xfff;

/// The first 20 bits of an installation's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tag(u32);

impl Tag {
    /// The tag of an installation, whose id is 32 hex digits. Any other text has a tag as well.
    pub(crate) fn of(installation: &str) -> Self {
        let digits = installation.chars().filter_map(|c| c.to_digit(16)).take(5);
        Self(digits.fold(0, |tag, digit| tag << 4 | digit))
    }

    /// The 20 bits.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// Where this installation begins to look for free subnets, so that two seldom meet.
    pub(crate) const fn scatter(self) -> u32 {
        self.0.wrapping_mul(0x9e37_79b1) >> 16
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05x}", self.0)
    }
}

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tag = u32::from_str_radix(text, 16).ok().filter(|_| text.len() == 5);
        tag.map(Self).ok_or_else(|| format!("`{text}` is no tag of an installation"))
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which of a slot's successive devices; they go round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u8);

impl Generation {
    /// Every generation, in the order in which they are tried.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..8).map(Self)
    }
}

/// The group of a port (`ip link show group N`): what its box may do, told to the firewall in a way
/// that comes and goes with the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) isolated: bool,
    pub(crate) strict: bool,
}

impl Group {
    /// Groups of other programs are small numbers.
    const FIRST: u32 = 0x0062_6800;

    pub(crate) const fn number(self) -> u32 {
        Self::FIRST + self.isolated as u32 + ((self.strict as u32) << 1)
    }

    /// The groups for which `holds` says yes, as a set of the firewall's language.
    pub(crate) fn set(holds: impl Fn(Self) -> bool) -> String {
        let all = [(false, false), (true, false), (false, true), (true, true)]
            .map(|(isolated, strict)| Self { isolated, strict });
        let numbers = all.into_iter().filter(|group| holds(*group)).map(|g| g.number().to_string());
        format!("{{ {} }}", numbers.collect::<Vec<_>>().join(", "))
    }
}

/// The name of the device that holds a network's gateway address; its table is called the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnchorName {
    pub(crate) tag: Tag,
    pub(crate) index: u16,
}

impl fmt::Display for AnchorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ANY_INSTALLATION}{}{:03x}", self.tag, self.index)
    }
}

/// The name of the host's end of a box's veth pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortName {
    pub(crate) tag: Tag,
    pub(crate) index: u16,
    pub(crate) slot: u16,
    pub(crate) generation: Generation,
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let anchor = AnchorName { tag: self.tag, index: self.index };
        write!(f, "{anchor}-{:03x}{:x}", self.slot, self.generation.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_fit_the_kernel() {
        let tag = Tag::of("fedcba98765432100123456789abcdef");
        assert_eq!(tag.to_string(), "fedcb");
        assert_eq!(AnchorName { tag, index: MAX_NETWORKS }.to_string(), "bhfedcbfff");
        let generation = Generation::all().last().unwrap();
        let port = PortName { tag, index: MAX_NETWORKS, slot: 0xffe, generation };
        assert_eq!(port.to_string(), "bhfedcbfff-ffe7");
        assert_eq!(port.to_string().len(), 15);
    }

    #[test]
    fn tags_round_trip() {
        let tag = Tag::of("00abc");
        assert_eq!(tag.to_string().parse(), Ok(tag));
        assert!("abc".parse::<Tag>().is_err());
    }
}
