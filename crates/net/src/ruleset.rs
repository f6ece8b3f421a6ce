//! What the firewall says of a network: a pure function from the network to the text that `nft`
//! loads, once per network. Boxes come and go as elements of the sets (`elements`).
//!
//! The rules are closed by default: a port of the network whose elements are not there yet, or not
//! any more, carries nothing.

use crate::Subnet;
use crate::names::{ANY_INSTALLATION, AnchorName};
use crate::rules::NEVER;

/// The text of a network's two tables. It replaces tables of that name as a whole.
pub(crate) fn text(table: AnchorName, subnet: Subnet) -> String {
    let never: Vec<_> =
        NEVER.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect();
    let tables = TABLES
        .replace("TABLE", &table.to_string())
        .replace("PORT", &format!("\"{table}-*\""))
        .replace("BOXES", &format!("\"{ANY_INSTALLATION}*\""))
        .replace("SUBNET", &subnet.to_string())
        .replace("GATEWAY", &subnet.gateway().to_string())
        .replace("NEVER", &never.join(", "));
    removal(table) + &tables
}

/// The text that removes what [`text`] makes, whether it is there or not: removing a table that is
/// not there is an error, adding one that is there is none.
pub(crate) fn removal(table: AnchorName) -> String {
    let families = ["inet", "arp"];
    families.map(|f| format!("table {f} {table}\ndelete table {f} {table}\n")).concat()
}

const TABLES: &str = r#"
table inet TABLE {
    # Which address belongs to which port.
    set ports { type ifname . ether_addr . ipv4_addr; }
    # Boxes that other boxes do not reach, and the other way round.
    set isolated { type ipv4_addr; }
    # Boxes that reach only what is listed, and what is listed for them: by their rules, and by the
    # answers that netd gave them.
    set strict { type ether_addr; }
    set allowed { type ether_addr . ipv4_addr; flags interval; }
    set allowed_ports { type ether_addr . ipv4_addr . inet_service; flags interval; }
    set pinned { type ether_addr . ipv4_addr; flags timeout; }
    set pinned_ports { type ether_addr . ipv4_addr . inet_service; flags timeout; }

    chain prerouting {
        type filter hook prerouting priority raw; policy accept;
        iifname PORT meta nfproto != ipv4 drop
        iifname PORT iifname . ether saddr . ip saddr != @ports drop
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
        ether saddr @strict goto listed
        goto open
    }

    chain listed {
        ether saddr . ip daddr @allowed goto open
        ether saddr . ip daddr @pinned goto open
        meta l4proto { tcp, udp } ether saddr . ip daddr . th dport @allowed_ports goto open
        meta l4proto { tcp, udp } ether saddr . ip daddr . th dport @pinned_ports goto open
        reject with icmp type admin-prohibited
    }

    chain open {
        oifname PORT goto between
        # Another network, of this installation or of another.
        oifname BOXES reject with icmp type net-unreachable
        accept
    }

    chain between {
        ip saddr @isolated reject with icmp type admin-prohibited
        ip daddr @isolated reject with icmp type admin-prohibited
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
        ip saddr SUBNET oifname != BOXES masquerade
    }
}

table arp TABLE {
    set ports { type ifname . ether_addr . ipv4_addr; }

    chain input {
        type filter hook input priority filter; policy accept;
        iifname PORT goto from_box
    }

    chain from_box {
        arp operation request arp daddr ip GATEWAY iifname . arp saddr ether . arp saddr ip @ports accept
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
        for word in ["TABLE", "PORT", "BOXES", "SUBNET", "GATEWAY", "NEVER"] {
            assert!(!rules.iter().any(|line| line.contains(word)), "{word} in\n{text}");
        }
        assert!(text.contains(r#"iifname "bh1a2b3001-*" goto to_host"#));
        assert!(text.contains("ip saddr 10.64.16.0/20 oifname != \"bh*\" masquerade"));
        assert!(text.contains("ip daddr 10.64.16.1 icmp type echo-request accept"));
    }
}
