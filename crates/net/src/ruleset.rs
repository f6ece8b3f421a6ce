//! What the firewall says of a network: a pure function from the network to the text that `nft`
//! loads, once per network.
//!
//! Nothing is added for a box, but for one with an egress list (`elements`): a change of the
//! firewall makes the next one who closes a netfilter socket wait 12 ms and more for the kernel. So
//! the policy of a box is the group of its device; that its address is its own is a look at the
//! route to it, which goes with the device; and the pairs of address and hardware address are all
//! known from the start. A port without a route, or of another group, carries nothing.

use crate::names::{ANY_INSTALLATION, AnchorName, Group};
use crate::rules::NEVER;
use crate::subnet::SLOTS;
use crate::{Mac, Subnet};

/// The text of a network's two tables. It replaces tables of that name as a whole.
pub(crate) fn text(table: AnchorName, subnet: Subnet) -> String {
    let never: Vec<_> =
        NEVER.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect();
    let tables = TABLES
        .replace("TABLE", &table.to_string())
        .replace("PORT", &format!("\"{table}-*\""))
        .replace("OURS", &format!("\"{ANY_INSTALLATION}*\""))
        .replace("SUBNET", &subnet.to_string())
        .replace("GATEWAY", &subnet.gateway().to_string())
        .replace("NEVER", &never.join(", "))
        .replace("ANY_GROUP", &Group::set(|_| true))
        .replace("STRICT", &Group::set(|group| group.strict))
        .replace("ISOLATED", &Group::set(|group| group.isolated))
        .replace("PAIRS", &pairs(subnet));
    removal(table) + &tables
}

/// The text that removes what [`text`] makes, whether it is there or not: removing a table that is
/// not there is an error, adding one that is there is none.
pub(crate) fn removal(table: AnchorName) -> String {
    let families = ["inet", "arp"];
    families.map(|f| format!("table {f} {table}\ndelete table {f} {table}\n")).concat()
}

fn pairs(subnet: Subnet) -> String {
    let pair = |slot| {
        let address = subnet.address(slot);
        format!("{} . {address}", Mac::of(address))
    };
    SLOTS.map(pair).collect::<Vec<_>>().join(", ")
}

const TABLES: &str = r#"
table inet TABLE {
    # Which hardware address belongs to which address.
    set pairs { type ether_addr . ipv4_addr; elements = { PAIRS } }
    # Where boxes with an egress list get: by their rules, and by the answers that netd gave them.
    set allowed { type ipv4_addr . ipv4_addr; flags interval; }
    set allowed_ports { type ipv4_addr . ipv4_addr . inet_service; flags interval; }
    set pinned { type ipv4_addr . ipv4_addr; flags timeout; }
    set pinned_ports { type ipv4_addr . ipv4_addr . inet_service; flags timeout; }

    chain prerouting {
        type filter hook prerouting priority raw; policy accept;
        iifname PORT meta nfproto != ipv4 drop
        iifname PORT iifgroup != ANY_GROUP drop
        iifname PORT ether saddr . ip saddr != @pairs drop
        iifname PORT fib saddr . iif oif missing drop
    }

    chain input {
        type filter hook input priority filter; policy accept;
        iifname PORT goto to_host
        # The host's neighbours are not served.
        iifname != "lo" ip daddr GATEWAY drop
    }

    chain to_host {
        ct state established,related accept
        ip daddr GATEWAY meta l4proto { tcp, udp } th dport 53 accept
        ip daddr GATEWAY icmp type echo-request accept
        reject
    }

    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname PORT goto from_box
        oifname PORT goto to_box
    }

    chain from_box {
        ct state established,related accept
        ip daddr { NEVER } reject with icmp type admin-prohibited
        iifgroup STRICT goto listed
        goto open
    }

    chain listed {
        ip saddr . ip daddr @allowed goto open
        ip saddr . ip daddr @pinned goto open
        meta l4proto { tcp, udp } ip saddr . ip daddr . th dport @allowed_ports goto open
        meta l4proto { tcp, udp } ip saddr . ip daddr . th dport @pinned_ports goto open
        reject with icmp type admin-prohibited
    }

    chain open {
        oifname PORT goto between
        # Another network, of this installation or of another.
        oifname OURS reject with icmp type net-unreachable
        accept
    }

    chain between {
        iifgroup ISOLATED reject with icmp type admin-prohibited
        oifgroup ISOLATED reject with icmp type admin-prohibited
        accept
    }

    chain to_box {
        ct state established,related accept
        drop
    }

    chain output {
        type filter hook output priority filter; policy accept;
        oifname PORT meta nfproto != ipv4 drop
    }

    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr SUBNET oifname != OURS masquerade
    }
}

table arp TABLE {
    set pairs { type ether_addr . ipv4_addr; elements = { PAIRS } }

    chain input {
        type filter hook input priority filter; policy accept;
        iifname PORT goto from_box
    }

    chain from_box {
        arp operation request arp daddr ip GATEWAY arp saddr ether . arp saddr ip @pairs accept
        drop
    }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Tag;

    fn example() -> String {
        text(AnchorName { tag: Tag::of("1a2b3"), index: 1 }, Subnet::of_pool(1))
    }

    #[test]
    fn tables_are_replaced_as_a_whole() {
        let text = example();
        for family in ["inet", "arp"] {
            let remade = format!("table {family} bh1a2b3001\ndelete table {family} bh1a2b3001\n");
            assert!(text.contains(&remade), "{text}");
            assert!(text.contains(&format!("\ntable {family} bh1a2b3001 {{")), "{text}");
        }
    }

    #[test]
    fn every_placeholder_is_filled() {
        let text = example();
        let rules: Vec<_> = text.lines().filter(|line| !line.trim().starts_with('#')).collect();
        for word in
            ["TABLE", "PORT", "OURS", "SUBNET", "GATEWAY", "NEVER", "GROUP", "STRICT", "PAIRS"]
        {
            assert!(!rules.iter().any(|line| line.contains(word)), "{word} in\n{text}");
        }
        assert!(text.contains(r#"iifname "bh1a2b3001-*" goto to_host"#));
        assert!(text.contains("ip saddr 10.64.16.0/20 oifname != \"bh*\" masquerade"));
        assert!(text.contains("ip daddr 10.64.16.1 icmp type echo-request accept"));
    }
}
