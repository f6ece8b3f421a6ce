//! What a box may reach, as a user asks for it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::NetworkName;
use crate::text::serde_as_text;

/// The network of a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NetworkSpec {
    /// Loopback only.
    None,
    /// A port on a bridge.
    Bridge {
        /// The network to join.
        name: NetworkName,
        /// No traffic to or from other boxes of the network.
        #[serde(default)]
        isolated: bool,
        /// `None`: everything outside is reachable. `Some`: only what is listed is.
        #[serde(default)]
        egress: Option<Vec<EgressRule>>,
    },
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self::Bridge { name: NetworkName::default_network(), isolated: false, egress: None }
    }
}

/// One place outside that a box may reach: `HOST[:PORT]`, where HOST is a domain name, an address,
/// or an address with a prefix length. IPv6 addresses with a port are written in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EgressRule {
    /// Who may be reached.
    pub host: EgressHost,
    /// The only TCP or UDP port; every port when `None`.
    pub port: Option<u16>,
}

/// The host of an [`EgressRule`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EgressHost {
    /// A domain name in lower case, resolved by `netd`, whose answers are pinned.
    Name(String),
    /// Addresses.
    Net(Cidr),
}

/// Addresses that share a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Any address of the range.
    pub address: IpAddr,
    /// How many leading bits are shared: 0–32 for IPv4, 0–128 for IPv6.
    pub prefix: u8,
}

/// Why an egress rule or a range was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressRuleError {
    /// The part after the last colon is no port.
    #[error("`{0}` is not a port, use 1 to 65535")]
    Port(String),
    /// Neither a domain name nor an address.
    #[error("`{0}` is neither a domain name nor an address")]
    Host(String),
    /// The prefix is longer than the address.
    #[error("`{0}` has a prefix that is longer than its address")]
    Prefix(String),
}

impl FromStr for Cidr {
    type Err = EgressRuleError;

    fn from_str(text: &str) -> Result<Self, EgressRuleError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| EgressRuleError::Host(text.to_owned()))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| EgressRuleError::Prefix(text.to_owned()))?,
            None => longest,
        };
        if prefix > longest {
            return Err(EgressRuleError::Prefix(text.to_owned()));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = if self.address.is_ipv4() { 32 } else { 128 };
        write!(f, "{}", self.address)?;
        if self.prefix == single { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

fn domain(text: &str) -> Option<String> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // All digits and dots would be an address with a mistake in it.
    let named = text.bytes().any(|b| b.is_ascii_alphabetic());
    (text.len() <= 253 && named && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

fn host(text: &str) -> Result<EgressHost, EgressRuleError> {
    match domain(text) {
        Some(name) => Ok(EgressHost::Name(name)),
        None => text.parse().map(EgressHost::Net),
    }
}

fn port(text: &str) -> Result<u16, EgressRuleError> {
    match text.parse() {
        Ok(0) | Err(_) => Err(EgressRuleError::Port(text.to_owned())),
        Ok(port) => Ok(port),
    }
}

impl FromStr for EgressRule {
    type Err = EgressRuleError;

    fn from_str(text: &str) -> Result<Self, EgressRuleError> {
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) =
                rest.split_once(']').ok_or_else(|| EgressRuleError::Host(text.to_owned()))?;
            let port = match after.strip_prefix(':') {
                Some(number) => Some(port(number)?),
                None if after.is_empty() => None,
                None => return Err(EgressRuleError::Host(text.to_owned())),
            };
            return Ok(Self { host: EgressHost::Net(inside.parse()?), port });
        }
        match text.split_once(':') {
            // More than one colon without brackets can only be an IPv6 address.
            Some((_, rest)) if rest.contains(':') => Ok(Self { host: host(text)?, port: None }),
            Some((name, number)) => Ok(Self { host: host(name)?, port: Some(port(number)?) }),
            None => Ok(Self { host: host(text)?, port: None }),
        }
    }
}

impl fmt::Display for EgressHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Net(net) => net.fmt(f),
        }
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, &self.host) {
            (None, host) => host.fmt(f),
            (Some(port), EgressHost::Net(net)) if net.address.is_ipv6() => {
                write!(f, "[{net}]:{port}")
            }
            (Some(port), host) => write!(f, "{host}:{port}"),
        }
    }
}

serde_as_text!(EgressRule);
serde_as_text!(Cidr);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_round_trip() {
        for text in [
            "deb.debian.org",
            "example.com:443",
            "192.0.2.7",
            "192.0.2.0/24:80",
            "2001:db8::/32",
            "[2001:db8::1]:22",
        ] {
            assert_eq!(text.parse::<EgressRule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!(matches!("a.b:0".parse::<EgressRule>(), Err(EgressRuleError::Port(_))));
        assert!(matches!("a.b:x".parse::<EgressRule>(), Err(EgressRuleError::Port(_))));
        assert!(matches!("300.1.1.1".parse::<EgressRule>(), Err(EgressRuleError::Host(_))));
        assert!(matches!("10.0.0.0/33".parse::<EgressRule>(), Err(EgressRuleError::Prefix(_))));
        assert!(matches!("-a.b".parse::<EgressRule>(), Err(EgressRuleError::Host(_))));
        assert!("".parse::<EgressRule>().is_err());
    }

    proptest! {
        #[test]
        fn what_parses_prints_and_parses_again(text in "[a-z0-9.:/\\[\\]-]{0,40}") {
            if let Ok(rule) = text.parse::<EgressRule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }
    }
}
