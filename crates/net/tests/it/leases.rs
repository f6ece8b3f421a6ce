//! What a box holds, and what is left of it.

use std::collections::BTreeSet;

use boxherd_model::{BoxId, NetworkSpec};
use boxherd_net::{NetError, Networks};

use crate::support::{Guest, Host, OUTSIDE, egress, ip, named, plays_host, said};

#[test]
fn a_box_keeps_its_lease_until_it_is_released() {
    if !plays_host("leases::a_box_keeps_its_lease_until_it_is_released") {
        return;
    }
    let host = Host::new();
    let id = BoxId::new();
    let first = Guest::start(&host.networks, id, "web", &NetworkSpec::default());
    let lease = first.lease.clone();
    drop(first);
    // The first device may still be going when the box starts again.
    for _ in 0..3 {
        let again = Guest::start(&host.networks, id, "web", &NetworkSpec::default());
        assert_eq!(again.lease, lease);
        assert!(again.pings(OUTSIDE));
    }
    host.networks.release(id).unwrap();
    host.networks.release(id).unwrap();
    assert!(host.networks.list().unwrap().is_empty());
}

#[test]
fn a_released_box_is_cut_off_and_leaves_no_element() {
    if !plays_host("leases::a_released_box_is_cut_off_and_leaves_no_element") {
        return;
    }
    let host = Host::new();
    let strict = host.connect("strict", &egress(&["192.0.2.0/24", "198.51.100.7:80"]));
    assert!(strict.pings(OUTSIDE));
    let listed = format!("{} . 198.51.100.7 . 80", strict.address());
    assert!(said("nft", "list ruleset").contains(&listed));
    host.networks.release(strict.lease.id()).unwrap();
    assert!(!strict.pings(OUTSIDE));
    let rules = said("nft", "list ruleset");
    assert!(!rules.contains(&listed), "{rules}");
}

#[test]
fn a_new_policy_replaces_the_old_one() {
    if !plays_host("leases::a_new_policy_replaces_the_old_one") {
        return;
    }
    let host = Host::new();
    let id = BoxId::new();
    let strict = Guest::start(&host.networks, id, "web", &egress(&["198.51.100.7"]));
    assert!(!strict.pings(OUTSIDE));
    drop(strict);
    let open = Guest::start(&host.networks, id, "web", &NetworkSpec::default());
    assert!(open.pings(OUTSIDE));
    drop(open);
    let elsewhere = Guest::start(&host.networks, id, "web", &named("staging"));
    assert!(elsewhere.pings(OUTSIDE));
    assert_eq!(host.networks.list().unwrap().len(), 1);
}

#[test]
fn reconcile_sweeps_the_leases_of_unknown_boxes() {
    if !plays_host("leases::reconcile_sweeps_the_leases_of_unknown_boxes") {
        return;
    }
    let host = Host::new();
    let (kept, lost) = (host.default_box("kept"), host.default_box("lost"));
    let known = BTreeSet::from([kept.lease.id()]);
    assert_eq!(host.networks.sweep(|id| known.contains(&id)).unwrap(), [lost.lease.id()]);
    assert_eq!(host.networks.list().unwrap(), std::slice::from_ref(&kept.lease));
    assert!(kept.pings(OUTSIDE));
    assert!(!lost.pings(OUTSIDE));
    assert!(host.networks.sweep(|id| known.contains(&id)).unwrap().is_empty());
}

#[test]
fn a_removed_firewall_is_made_again_with_every_box() {
    if !plays_host("leases::a_removed_firewall_is_made_again_with_every_box") {
        return;
    }
    let host = Host::new();
    let old = host.connect("old", &egress(&["192.0.2.254"]));
    said("nft", "flush ruleset");
    let new = host.default_box("new");
    assert!(new.pings(OUTSIDE));
    assert!(old.pings(OUTSIDE));
    assert!(!old.pings(new.address()), "the old box is still strict");
}

#[test]
fn a_reboot_is_survived() {
    if !plays_host("leases::a_reboot_is_survived") {
        return;
    }
    let host = Host::new();
    let id = BoxId::new();
    let before = Guest::start(&host.networks, id, "web", &named("staging"));
    let lease = before.lease.clone();
    drop(before);
    // What a reboot takes: devices, routes, tables.
    let devices = said("ip", "-br link");
    let anchor = devices.lines().find(|line| line.starts_with("bh") && !line.contains('-'));
    ip(&format!("link delete {}", anchor.unwrap().split_whitespace().next().unwrap()));
    ip("route flush type unreachable");
    said("nft", "flush ruleset");
    let after = Guest::start(&host.networks, id, "web", &named("staging"));
    assert_eq!(after.lease, lease);
    assert!(after.pings(OUTSIDE));
}

#[test]
fn a_subnet_the_host_routes_is_left_alone() {
    if !plays_host("leases::a_subnet_the_host_routes_is_left_alone") {
        return;
    }
    let host = Host::new();
    let first = host.default_box("web");
    let taken = first.lease.gateway();
    host.networks.release(first.lease.id()).unwrap();
    drop(first);
    host.networks.dismantle().unwrap();
    ip(&format!("route add {taken}/32 via {OUTSIDE}"));
    let second = host.default_box("web");
    assert_ne!(second.lease.gateway(), taken);
    assert!(second.pings(OUTSIDE));
}

#[test]
fn two_installations_share_a_machine() {
    if !plays_host("leases::two_installations_share_a_machine") {
        return;
    }
    let host = Host::new();
    let folder = tempfile::TempDir::new().unwrap();
    let others = Networks::open(folder.path(), "ffffffffffffffffffffffffffffffff").unwrap();
    let here = host.default_box("web");
    let there = Guest::start(&others, BoxId::new(), "web", &NetworkSpec::default());
    there.serve((std::net::Ipv4Addr::UNSPECIFIED, 80), "there");
    assert!(here.pings(OUTSIDE) && there.pings(OUTSIDE));
    assert_eq!(here.ask(there.at(80)), None);
    host.networks.dismantle().unwrap();
    assert!(there.pings(OUTSIDE));
}

/// The names of the host's devices, and its routes; those of IPv6 come and go by themselves.
fn devices_and_routes() -> (Vec<String>, String) {
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let devices = said("ip", "-br link").lines().filter_map(name).collect();
    (devices, said("ip", "-4 route show table all"))
}

#[test]
fn dismantling_leaves_nothing() {
    if !plays_host("leases::dismantling_leaves_nothing") {
        return;
    }
    let host = Host::new();
    let before = devices_and_routes();
    let guest = host.default_box("web");
    host.networks.release(guest.lease.id()).unwrap();
    drop(guest);
    // The port goes some milliseconds after its namespace.
    while devices_and_routes().0.iter().any(|device| device.contains("bh1a2b3000-")) {
        std::thread::yield_now();
    }
    host.networks.dismantle().unwrap();
    assert_eq!(devices_and_routes(), before);
    assert_eq!(said("nft", "list ruleset"), "");
}

#[test]
fn a_full_network_says_so() {
    if !plays_host("leases::a_full_network_says_so") {
        return;
    }
    let host = Host::new();
    let name = "web".parse().unwrap();
    let spec = NetworkSpec::default();
    let lease = host.networks.reserve(BoxId::new(), &name, &spec).unwrap();
    let slots = host.data.path().join("net/slots");
    for slot in 2..=0xffe {
        let claim = slots.join(format!("000-{slot:03x}"));
        if !claim.exists() {
            std::fs::write(claim, "somebody").unwrap();
        }
    }
    let refused = host.networks.reserve(BoxId::new(), &name, &spec).unwrap_err();
    assert!(matches!(refused, NetError::Full { .. }), "{refused}");
    assert_eq!(host.networks.reserve(lease.id(), &name, &spec).unwrap(), lease);
}

#[test]
fn without_privilege_the_reason_is_said() {
    if !plays_host("leases::without_privilege_the_reason_is_said") {
        return;
    }
    let host = Host::new();
    host.networks.available().unwrap();
    let refused = std::thread::spawn(move || {
        let mut held = rustix::thread::capabilities(None).unwrap();
        held.effective.remove(rustix::thread::CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, held).unwrap();
        host.networks.available().unwrap_err()
    });
    let refused = refused.join().unwrap();
    assert!(matches!(refused, NetError::NotPermitted), "{refused}");
    assert!(refused.hint().unwrap().contains("root"));
}

#[test]
fn boxes_made_at_once_share_a_network_and_no_address() {
    if !plays_host("leases::boxes_made_at_once_share_a_network_and_no_address") {
        return;
    }
    let host = Host::new();
    let addresses = std::thread::scope(|scope| {
        let reserve = |number: usize| {
            let name = format!("box-{number}").parse().unwrap();
            host.networks.reserve(BoxId::new(), &name, &NetworkSpec::default()).unwrap()
        };
        let making: Vec<_> = (0..32).map(|n| scope.spawn(move || reserve(n))).collect();
        let made = making.into_iter().map(|thread| thread.join().unwrap());
        made.map(|lease| lease.addresses()).collect::<BTreeSet<_>>()
    });
    assert_eq!(addresses.len(), 32);
    assert_eq!(said("nft", "list tables").lines().count(), 2);
}

#[test]
fn what_a_torn_release_left_opens_nothing_for_the_next_box() {
    if !plays_host("leases::what_a_torn_release_left_opens_nothing_for_the_next_box") {
        return;
    }
    let host = Host::new();
    let id = BoxId::new();
    let first = Guest::start(&host.networks, id, "web", &egress(&["192.0.2.0/24"]));
    assert!(first.pings(OUTSIDE));
    let address = first.address();
    drop(first);
    std::fs::remove_file(host.data.path().join(format!("net/leases/{id}.json"))).unwrap();
    let second = Guest::start(&host.networks, id, "web", &egress(&[]));
    assert_eq!(second.address(), address);
    assert!(!second.pings(OUTSIDE));
}
