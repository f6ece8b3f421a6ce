//! Egress rules as the firewall wants them.

use std::net::{IpAddr, Ipv4Addr};

use boxherd_model::{Cidr, EgressHost, EgressRule};

use crate::NetError;

/// Where no box ever gets, whatever its rules say: this host, loopback, link-local (which is where
/// clouds keep their metadata), multicast and what is reserved.
pub(crate) const NEVER: [(Ipv4Addr, u8); 5] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Whether an address is one of [`NEVER`].
pub(crate) fn never(address: Ipv4Addr) -> bool {
    NEVER.iter().any(|(base, prefix)| Range::new(*base, *prefix).contains(Range::new(address, 32)))
}

/// Addresses from `first` to `last` that a box may reach, on one port or on all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) range: Range,
    pub(crate) port: Option<u16>,
}

/// The addresses that share a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: Ipv4Addr,
    pub(crate) last: Ipv4Addr,
}

impl Range {
    fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let free = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        let first = address.to_bits() & !free;
        Self { first: first.into(), last: (first | free).into() }
    }

    fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// Refuses rules that no network of ours can honour.
pub(crate) fn check(rules: &[EgressRule]) -> Result<(), NetError> {
    for rule in rules {
        match rule.host {
            EgressHost::Name(_) => {}
            EgressHost::Net(Cidr { address: IpAddr::V6(_), .. }) => {
                return Err(NetError::Ipv6Rule { rule: rule.clone() });
            }
            EgressHost::Net(Cidr { address: IpAddr::V4(address), prefix }) => {
                let asked = Range::new(address, prefix);
                if NEVER.iter().any(|(base, p)| Range::new(*base, *p).contains(asked)) {
                    return Err(NetError::NeverRule { rule: rule.clone() });
                }
            }
        }
    }
    Ok(())
}

/// The rules that name addresses, without those that another one of them covers: the kernel's sets
/// refuse ranges that overlap.
pub(crate) fn allowed(rules: &[EgressRule]) -> Vec<Allowed> {
    let mut kept: Vec<Allowed> = Vec::new();
    for rule in rules {
        let EgressHost::Net(Cidr { address: IpAddr::V4(address), prefix }) = rule.host else {
            continue;
        };
        let new = Allowed { range: Range::new(address, prefix), port: rule.port };
        let covers = |a: &Allowed, b: &Allowed| a.port == b.port && a.range.contains(b.range);
        if !kept.iter().any(|old| covers(old, &new)) {
            kept.retain(|old| !covers(&new, old));
            kept.push(new);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Vec<EgressRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn covered_rules_are_left_out() {
        let kept = allowed(&rules(&[
            "10.1.2.3:80",
            "10.0.0.0/8:80",
            "10.9.0.0/16:443",
            "10.9.9.9:443",
            "example.com",
            "0.0.0.0/0:53",
        ]));
        let texts: Vec<_> = kept
            .iter()
            .map(|a| format!("{}-{} {:?}", a.range.first, a.range.last, a.port))
            .collect();
        assert_eq!(
            texts,
            [
                "10.0.0.0-10.255.255.255 Some(80)",
                "10.9.0.0-10.9.255.255 Some(443)",
                "0.0.0.0-255.255.255.255 Some(53)"
            ]
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        assert!(check(&rules(&["example.com:443", "0.0.0.0/0", "192.0.2.1"])).is_ok());
        assert!(matches!(check(&rules(&["2001:db8::1"])), Err(NetError::Ipv6Rule { .. })));
        for text in ["169.254.169.254:80", "127.0.0.1", "224.0.0.0/24"] {
            assert!(matches!(check(&rules(&[text])), Err(NetError::NeverRule { .. })), "{text}");
        }
    }

    #[test]
    fn link_local_is_never_reached() {
        assert!(never(Ipv4Addr::new(169, 254, 169, 254)));
        assert!(!never(Ipv4Addr::new(192, 0, 2, 1)));
    }
}
