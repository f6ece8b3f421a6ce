//! What real boxes reach by their network, and what they do not. How the rules do it is tested in
//! `crates/net`, on namespaces.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use crate::lab::Lab;
use crate::wait;

/// A lab whose boxes have a network; `None` where there can be none, which was said aloud.
fn networked(test: &str) -> Option<Lab> {
    if !boxherd_testkit::programs_or_skip(test, &["nft", "bash", "perl", "getent"]) {
        return None;
    }
    let lab = Lab::open(test)?;
    let said = lab.boxherd(&["run", "true"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    if said.err.contains("loopback only") {
        boxherd_testkit::skip(test, "there can be no network here");
        return None;
    }
    Some(lab)
}

/// A main program that answers every connection to port 80 with the name of its box.
const SERVE: &str = "use Socket; socket my $s, AF_INET, SOCK_STREAM, 0 or die;
    setsockopt $s, SOL_SOCKET, SO_REUSEADDR, 1;
    bind $s, pack_sockaddr_in($ENV{PORT}, INADDR_ANY) or die; listen $s, 9; $| = 1; print qq(up\n);
    while (accept my $c, $s) { syswrite $c, `hostname` }";

fn serve(lab: &Lab, name: &str, port: u16) {
    let port = format!("PORT={port}");
    lab.boxherd(&["create", name, "-e", &port, "--", "perl", "-e", SERVE]).ok();
    wait::until("it serves", || lab.boxherd(&["logs", name]).ok().contains("up").then_some(()));
}

/// What a box is told by `host` on `port`; nothing when it is not let there.
fn told(lab: &Lab, name: &str, host: &str, port: u16) -> String {
    let line = format!("exec 3<>/dev/tcp/{host}/{port} && head -n 1 <&3");
    let args = ["exec", "--timeout", "60s", name, "--", "timeout", "5", "bash", "-c", &line];
    lab.boxherd(&args).out
}

fn looked_up(lab: &Lab, name: &str, host: &str) -> bool {
    lab.sh(name, &format!("getent hosts {host}")).code == Some(0)
}

#[test]
fn boxes_reach_each_other_by_name_unless_they_are_isolated() {
    let Some(lab) = networked("boxes_reach_each_other_by_name") else { return };
    serve(&lab, "server", 80);
    lab.boxherd(&["create", "friend"]).ok();
    assert_eq!(told(&lab, "friend", "server", 80), "server\n");
    lab.boxherd(&["create", "hermit", "--isolated"]).ok();
    let shown = lab.boxherd(&["show", "hermit"]).ok();
    assert!(shown.contains("default, isolated"), "{shown}");
    let address = lab.sh("friend", "getent hosts server").ok();
    let address = address.split_whitespace().next().expect("an address");
    assert_eq!(told(&lab, "friend", address, 80), "server\n");
    assert_eq!(told(&lab, "hermit", address, 80), "");
    lab.boxherd(&["create", "stranger", "--network", "other"]).ok();
    assert!(!looked_up(&lab, "stranger", "server"));
    assert_eq!(told(&lab, "stranger", address, 80), "");
    lab.boxherd(&["create", "alone", "--network", "none"]).ok();
    assert!(!looked_up(&lab, "alone", "server"));
    assert_eq!(told(&lab, "alone", address, 80), "");
    assert_eq!(lab.sh("alone", "ls /sys/class/net").ok(), "lo\n");
    // Names follow their boxes.
    lab.boxherd(&["rename", "server", "renamed"]).ok();
    wait::until("the new name is known", || looked_up(&lab, "friend", "renamed").then_some(()));
    assert!(!looked_up(&lab, "friend", "server"));
    assert_eq!(told(&lab, "friend", "renamed", 80), "renamed\n");
}

#[test]
fn a_box_with_an_egress_list_reaches_what_is_on_it_and_nothing_else() {
    let Some(lab) = networked("a_box_with_an_egress_list") else { return };
    serve(&lab, "listed", 80);
    serve(&lab, "other", 80);
    serve(&lab, "byport", 81);
    lab.boxherd(&["create", "free"]).ok();
    lab.boxherd(&["create", "held", "--egress", "listed:80", "--egress", "byport:80"]).ok();
    for (host, port) in [("listed", 80), ("other", 80), ("byport", 81)] {
        assert_eq!(told(&lab, "free", host, port), format!("{host}\n"));
    }
    assert_eq!(told(&lab, "held", "listed", 80), "listed\n");
    assert_eq!(told(&lab, "held", "other", 80), "", "not on the list");
    assert_eq!(told(&lab, "held", "byport", 81), "", "its other port is");
    let other = lab.sh("free", "getent hosts other").ok();
    let other = other.split_whitespace().next().expect("an address");
    assert_eq!(told(&lab, "held", other, 80), "", "nor by its address");
    let shown = lab.boxherd(&["show", "held"]).ok();
    assert!(shown.contains("listed:80") && shown.contains("byport:80"), "{shown}");
}

/// The host's own addresses of version 6, with the interface where that is needed.
fn addresses_v6() -> Vec<(Ipv6Addr, u32)> {
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let hex = |text: &str| u128::from_str_radix(text, 16).expect("hexadecimal");
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        (Ipv6Addr::from(hex(words[0])), u32::try_from(hex(words[1])).expect("an index"))
    };
    table.lines().map(row).filter(|(address, _)| !address.is_loopback()).collect()
}

#[test]
fn what_the_host_serves_is_not_for_boxes() {
    let Some(lab) = networked("what_the_host_serves_is_not_for_boxes") else { return };
    lab.boxherd(&["create", "box"]).ok();
    let v4 = TcpListener::bind("0.0.0.0:0").expect("a listener");
    let port = v4.local_addr().expect("its address").port();
    let gateway = lab.sh("box", "ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'").ok();
    let gateway = gateway.trim();
    TcpStream::connect((gateway, port)).expect("the host reaches itself there");
    assert_eq!(v4.accept().map(|_| ()).ok(), Some(()));
    let reaches = |host: &str, port: u16| {
        let line = format!("exec 3<>/dev/tcp/{host}/{port}");
        lab.boxherd(&["exec", "box", "--", "timeout", "3", "bash", "-c", &line]).code == Some(0)
    };
    assert!(!reaches(gateway, port), "the gateway");
    assert!(!reaches("169.254.169.254", 80), "the cloud's metadata");
    let Ok(v6) = TcpListener::bind("[::]:0") else {
        boxherd_testkit::skip("what_the_host_serves over IPv6", "this host has none");
        return;
    };
    let port = v6.local_addr().expect("its address").port();
    for (address, interface) in addresses_v6() {
        let scope = if address.is_unicast_link_local() { interface } else { 0 };
        let whole = SocketAddr::V6(std::net::SocketAddrV6::new(address, port, 0, scope));
        // Where even the host does not reach it, nothing is shown.
        if TcpStream::connect(whole).is_err() {
            continue;
        }
        let host = if scope == 0 { address.to_string() } else { format!("{address}%eth0") };
        assert!(!reaches(&host, port), "{host}");
    }
}

#[test]
fn a_fork_has_an_identity_of_its_own() {
    const IDENTITY: &str = "hostname; cat /etc/machine-id /sys/class/net/eth0/address; \
                            hostname -I; getent hosts $(hostname) | cut -d' ' -f1";
    let Some(lab) = networked("a_fork_has_an_identity_of_its_own") else { return };
    lab.boxherd(&["create", "first"]).ok();
    lab.sh("first", "mkdir /etc/ssh; cd /etc/ssh; echo key | tee ssh_host_rsa_key > sshd_config")
        .ok();
    lab.boxherd(&["fork", "first", "second"]).ok();
    let (first, second) = (lab.sh("first", IDENTITY).ok(), lab.sh("second", IDENTITY).ok());
    assert_eq!((first.lines().count(), second.lines().count()), (5, 5), "{first}{second}");
    for (first, second) in first.lines().zip(second.lines()) {
        assert_ne!(first, second);
    }
    // Two machines with one key could be taken for each other.
    assert_eq!(lab.sh("first", "ls /etc/ssh").ok(), "ssh_host_rsa_key\nsshd_config\n");
    assert_eq!(lab.sh("second", "ls /etc/ssh").ok(), "sshd_config\n");
}
