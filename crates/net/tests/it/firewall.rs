//! Who reaches whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::support::{
    FAR, FARTHER, HOST, Host, METADATA, Namespace, OUTSIDE, egress, ip, isolated, named,
    plays_host, said,
};

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[test]
fn boxes_reach_each_other_the_gateway_and_the_outside() {
    if !plays_host("firewall::boxes_reach_each_other_the_gateway_and_the_outside") {
        return;
    }
    let host = Host::new();
    let (web, db) = (host.default_box("web"), host.default_box("db"));
    db.serve((ANY, 5432), "db");
    assert_eq!(web.ask(db.at(5432)).as_deref(), Some("db"));
    assert!(web.pings(db.address()));
    assert!(web.pings(web.lease.gateway()));
    host.outside.serve((ANY, 80), "outside");
    assert_eq!(web.ask((OUTSIDE, 80)).as_deref(), Some("outside"));
    assert_eq!(web.ask((FAR, 80)).as_deref(), Some("outside"));
}

#[test]
fn the_outside_sees_the_host_and_cannot_reach_in() {
    if !plays_host("firewall::the_outside_sees_the_host_and_cannot_reach_in") {
        return;
    }
    let host = Host::new();
    let web = host.default_box("web");
    web.serve((ANY, 80), "web");
    let receiver = host.outside.udp((OUTSIDE, 9));
    web.udp((ANY, 0)).send_to(b"who", (OUTSIDE, 9)).unwrap();
    let (_, sender) = receiver.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(sender.ip(), HOST);
    host.outside.ip(&format!("route add 10.0.0.0/8 via {HOST}"));
    assert_eq!(host.outside.ask(web.at(80)), None);
    assert!(!host.outside.pings(web.lease.gateway()));
}

#[test]
fn an_isolated_box_sees_no_other() {
    if !plays_host("firewall::an_isolated_box_sees_no_other") {
        return;
    }
    let host = Host::new();
    let (alone, other) = (host.connect("alone", &isolated()), host.default_box("other"));
    alone.serve((ANY, 80), "alone");
    other.serve((ANY, 80), "other");
    host.outside.serve((ANY, 80), "outside");
    assert_eq!(alone.ask(other.at(80)), None);
    assert_eq!(other.ask(alone.at(80)), None);
    assert!(!alone.pings(other.address()));
    assert_eq!(alone.ask((OUTSIDE, 80)).as_deref(), Some("outside"));
}

#[test]
fn networks_do_not_reach_each_other() {
    if !plays_host("firewall::networks_do_not_reach_each_other") {
        return;
    }
    let host = Host::new();
    let (here, there) = (host.default_box("here"), host.connect("there", &named("staging")));
    there.serve((ANY, 80), "there");
    assert_ne!(here.lease.gateway(), there.lease.gateway());
    assert_eq!(here.ask(there.at(80)), None);
    assert!(!here.pings(there.address()));
    assert!(!here.pings(there.lease.gateway()));
}

#[test]
fn the_host_is_not_reachable() {
    if !plays_host("firewall::the_host_is_not_reachable") {
        return;
    }
    let host = Host::new();
    let web = host.default_box("web");
    // Threads of this process are on the host.
    let listener = std::net::TcpListener::bind((ANY, 8000)).unwrap();
    listener.set_nonblocking(true).unwrap();
    ip(&format!("address add {METADATA}/32 dev lo"));
    let gateway = web.lease.gateway();
    for address in [gateway, HOST.into(), METADATA.into()] {
        assert_eq!(web.ask((address, 8000)), None, "{address}");
    }
    assert!(listener.accept().is_err());
    // The host reaches its boxes, and gets their answers.
    web.serve((ANY, 80), "web");
    let stream = std::net::TcpStream::connect(web.at(80)).unwrap();
    assert_eq!(std::io::read_to_string(stream).unwrap(), "web");
}

#[test]
fn metadata_of_a_cloud_is_not_reachable() {
    if !plays_host("firewall::metadata_of_a_cloud_is_not_reachable") {
        return;
    }
    let host = Host::new();
    let (web, strict) = (host.default_box("web"), host.connect("strict", &egress(&["0.0.0.0/0"])));
    host.outside.serve((ANY, 80), "secrets");
    assert_eq!(strict.ask((FAR, 80)).as_deref(), Some("secrets"));
    assert_eq!(web.ask((METADATA, 80)), None);
    assert_eq!(strict.ask((METADATA, 80)), None);
}

#[test]
fn ipv6_carries_nothing() {
    if !plays_host("firewall::ipv6_carries_nothing") {
        return;
    }
    let host = Host::new();
    let web = host.default_box("web");
    let device = said("ip", "-br link").lines().find(|l| l.contains('-')).unwrap().to_owned();
    let port = device.split('@').next().unwrap();
    // What the box's root and a careless host could do at worst: addresses on both ends.
    ip(&format!("address add fe80::1/64 dev {port} nodad"));
    web.ip("address add fe80::2/64 dev eth0 nodad");
    let listener = std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, 8000)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let scope = web.run(|| said("ip", "-o link show eth0"));
    let scope = scope.split(':').next().unwrap().parse().unwrap();
    let gateway = SocketAddrV6::new("fe80::1".parse().unwrap(), 8000, 0, scope);
    assert_eq!(web.ask(SocketAddr::V6(gateway)), None);
    assert!(listener.accept().is_err());
    assert!(!said("ip", "-6 neighbour").contains("fe80::2"), "a solicitation came through");
}

#[test]
fn a_spoofed_address_is_dropped() {
    if !plays_host("firewall::a_spoofed_address_is_dropped") {
        return;
    }
    let host = Host::new();
    let (thief, victim) = (host.default_box("thief"), host.default_box("victim"));
    let receiver = host.outside.udp((OUTSIDE, 9));
    thief.udp((ANY, 0)).send_to(b"mine", (OUTSIDE, 9)).unwrap();
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 4);
    for stolen in [victim.address(), FARTHER.into()] {
        thief.ip(&format!("address add {stolen}/32 dev eth0"));
        thief.udp((stolen, 0)).send_to(b"stolen", (OUTSIDE, 9)).unwrap();
        assert!(receiver.recv(&mut [0; 8]).is_err(), "{stolen}");
    }
}

#[test]
fn a_spoofed_hardware_address_is_dropped() {
    if !plays_host("firewall::a_spoofed_hardware_address_is_dropped") {
        return;
    }
    let host = Host::new();
    let (thief, victim) = (host.default_box("thief"), host.default_box("victim"));
    // Without its pin it finds the gateway by asking, which it does not by itself.
    thief.ip("link set dev eth0 arp on");
    let receiver = host.outside.udp((OUTSIDE, 9));
    for stolen in [victim.lease.mac().to_string(), "02:00:00:00:00:99".to_owned()] {
        thief.ip(&format!("link set eth0 address {stolen}"));
        thief.udp((ANY, 0)).send_to(b"stolen", (OUTSIDE, 9)).unwrap();
        assert!(receiver.recv(&mut [0; 8]).is_err(), "{stolen}");
    }
    thief.ip(&format!("link set eth0 address {}", thief.lease.mac()));
    thief.udp((ANY, 0)).send_to(b"mine", (OUTSIDE, 9)).unwrap();
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 4);
}

#[test]
fn a_port_carries_only_its_own_pair_of_addresses() {
    if !plays_host("firewall::a_port_carries_only_its_own_pair_of_addresses") {
        return;
    }
    let host = Host::new();
    let (thief, victim) = (host.default_box("thief"), host.default_box("victim"));
    // Without its pin it finds the gateway by asking, which it does not by itself.
    thief.ip("link set dev eth0 arp on");
    let receiver = host.outside.udp((OUTSIDE, 9));
    thief.ip(&format!("link set eth0 address {}", victim.lease.mac()));
    thief.ip(&format!("address add {}/32 dev eth0", victim.address()));
    thief.udp((victim.address(), 0)).send_to(b"stolen", (OUTSIDE, 9)).unwrap();
    assert!(receiver.recv(&mut [0; 8]).is_err());
}

#[test]
fn a_box_learns_no_neighbours() {
    if !plays_host("firewall::a_box_learns_no_neighbours") {
        return;
    }
    let host = Host::new();
    let guest = host.default_box("guest");
    let link = guest.run(|| said("ip", "link show dev eth0"));
    assert!(link.contains("NOARP"), "{link}");
    assert!(guest.pings(guest.lease.gateway()), "the gateway is pinned");
}

/// Whether a box has learnt the hardware address of a neighbour.
fn knows(guest: &Namespace, address: IpAddr) -> bool {
    guest.run(|| said("ip", &format!("neighbour show {address}"))).contains("lladdr")
}

#[test]
fn arp_is_answered_for_the_gateway_and_only_to_the_truthful() {
    if !plays_host("firewall::arp_is_answered_for_the_gateway_and_only_to_the_truthful") {
        return;
    }
    let host = Host::new();
    let (thief, victim) = (host.default_box("thief"), host.default_box("victim"));
    let gateway = thief.lease.gateway();
    // A box that may change its device, and has lost its pinned neighbour, finds the gateway again.
    thief.ip("link set dev eth0 arp on");
    thief.ip("neighbour flush dev eth0 nud permanent");
    assert!(thief.pings(gateway));
    assert!(knows(&thief, gateway));
    // It learns of no other address of the host.
    thief.ip("neighbour flush dev eth0");
    thief.ip(&format!("route add {HOST}/32 dev eth0"));
    assert!(!thief.pings(HOST));
    assert!(!knows(&thief, HOST.into()));
    // A question with a stolen sender is neither answered nor believed.
    thief.ip("neighbour flush dev eth0");
    thief.ip("address flush dev eth0");
    thief.ip(&format!("address add {}/32 dev eth0", victim.address()));
    thief.ip(&format!("route add {gateway}/32 dev eth0"));
    assert!(!thief.pings(gateway));
    assert!(!knows(&thief, gateway));
    let entries = said("ip", &format!("neighbour show {}", victim.address()));
    assert_eq!(entries.lines().count(), 1, "{entries}");
    assert!(entries.contains(&victim.lease.mac().to_string()), "{entries}");
}

#[test]
fn egress_reaches_what_is_listed_and_nothing_else() {
    if !plays_host("firewall::egress_reaches_what_is_listed_and_nothing_else") {
        return;
    }
    let host = Host::new();
    let rules = ["198.51.100.7:80", "192.0.2.0/24", "192.0.2.254:81"];
    let strict = host.connect("strict", &egress(&rules));
    let other = host.default_box("other");
    other.serve((ANY, 80), "other");
    for port in [80, 81] {
        host.outside.serve((ANY, port), "outside");
    }
    assert!(strict.ask((FAR, 80)).is_some());
    assert!(strict.ask((OUTSIDE, 81)).is_some());
    assert!(strict.pings(OUTSIDE));
    assert_eq!(strict.ask((FAR, 81)), None);
    assert_eq!(strict.ask((FARTHER, 80)), None);
    assert!(!strict.pings(FAR));
    assert_eq!(strict.ask(other.at(80)), None, "another box is not listed either");
    assert_eq!(strict.ask((HOST, 80)), None, "the host is never reached");
    // Being strict is about what a box begins.
    strict.serve((ANY, 80), "strict");
    assert_eq!(other.ask(strict.at(80)).as_deref(), Some("strict"));
}

#[test]
fn an_empty_list_allows_nothing() {
    if !plays_host("firewall::an_empty_list_allows_nothing") {
        return;
    }
    let host = Host::new();
    let strict = host.connect("strict", &egress(&[]));
    host.outside.serve((ANY, 80), "outside");
    assert_eq!(strict.ask((OUTSIDE, 80)), None);
}
