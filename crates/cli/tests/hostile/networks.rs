//! What a box gets by its raw sockets: nobody believes its packets and it hears nobody else's.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Stdio;

use crate::lab::Lab;
use crate::wait;

/// Boxes on a network, which [`Lab::create`] makes none of; `None` where there can be none.
fn networked(test: &str, names: &[&str]) -> Option<Lab> {
    let lab =
        boxherd_testkit::programs_or_skip(test, &["nft"]).then(|| Lab::open(test)).flatten()?;
    for name in names {
        let said = lab.boxherd(&["create", name]);
        assert_eq!(said.code, Some(0), "{said:?}");
        if said.err.contains("loopback only") {
            boxherd_testkit::skip(test, "there can be no network here");
            return None;
        }
    }
    Some(lab)
}

fn address(lab: &Lab, name: &str) -> Ipv4Addr {
    let shown = lab.boxherd(&["show", name, "-o", "json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    shown["addresses"][0].as_str().and_then(|text| text.parse().ok()).expect("an address")
}

/// perl that sends a datagram, or an ICMP message, with whatever source: `forge(FROM, TO, PORT)`.
/// A port of 0 makes it an ICMP redirect of TO's way to 192.0.2.1, by way of FROM.
const FORGE: &str = "use Socket; socket my $raw, AF_INET, SOCK_RAW, 255 or die \"raw: $!\";
    setsockopt $raw, 0, 3, pack 'i', 1 or die $!;
    sub forge { my ($from, $to, $port) = @_;
        my ($f, $t) = (inet_aton($from), inet_aton($to));
        my $inner = pack('CCnnnCCna4a4', 69, 0, 28, 7, 0, 64, 17, 0, $t, inet_aton('192.0.2.1'))
            . pack('nnnn', 1, 2, 8, 0);
        my $body = $port ? pack('nnnn', 9, $port, 14, 0) . 'forged' : pack('CCna4', 5, 1, 0, $f) . $inner;
        my $protocol = $port ? 17 : 1;
        my $head = pack 'CCnnnCCna4a4', 69, 0, 20 + length $body, 7, 0, 64, $protocol, 0, $f, $t;
        send $raw, $head . $body, 0, pack_sockaddr_in($port, $t) or warn \"send: $!\";
    }";

/// perl that prints who sent each datagram to port 9999.
const HEAR: &str = "use Socket; $| = 1; socket my $s, AF_INET, SOCK_DGRAM, 0 or die;
    bind $s, pack_sockaddr_in(9999, INADDR_ANY) or die; print qq(ready\n);
    while (my $who = recv $s, my $text, 100, 0) {
        my ($port, $host) = unpack_sockaddr_in($who); print inet_ntoa($host), qq( $text\n)
    }";

#[test]
fn forged_packets_reach_nobody() {
    let Some(lab) = networked("forged_packets_reach_nobody", &["thief", "neighbour"]) else {
        return;
    };
    lab.boxherd(&["create", "victim", "--", "perl", "-e", HEAR]).ok();
    wait::until("the victim hears", || {
        lab.boxherd(&["logs", "victim"]).ok().contains("ready").then_some(())
    });
    let [thief, neighbour, victim] =
        ["thief", "neighbour", "victim"].map(|name| address(&lab, name).to_string());
    let gateway = lab.sh("thief", "ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'").ok();
    let gateway = gateway.trim();
    let script = format!(
        "{FORGE} forge($_, '{victim}', 9999) for '{neighbour}', '{gateway}', '127.0.0.1', '8.8.8.8';
         forge('{gateway}', '{victim}', 0); forge('{thief}', '{victim}', 0);
         forge('{thief}', '{victim}', 9999)"
    );
    lab.boxherd(&["exec", "thief", "--", "perl", "-e", &script]).ok();
    // The honest one was sent last, and is there: the others will not come.
    let honest = format!("{thief} forged\n");
    let heard = wait::until("the honest packet comes", || {
        let heard = lab.boxherd(&["logs", "victim"]).ok();
        heard.contains(&honest).then_some(heard)
    });
    assert_eq!(heard, format!("ready\n{honest}"));
    // No redirect was believed: the way is still the gateway's.
    let way = lab.sh("victim", "ip route get 192.0.2.1").ok();
    assert!(way.contains(&format!("via {gateway} ")), "{way}");
    assert!(!way.contains("redirected"), "{way}");
}

#[test]
fn a_box_hears_nothing_of_others() {
    let Some(lab) = networked("a_box_hears_nothing_of_others", &["spy", "talker"]) else { return };
    lab.boxherd(&["create", "victim", "--", "perl", "-e", HEAR]).ok();
    let [spy, victim] = ["spy", "victim"].map(|name| address(&lab, name).to_string());
    let listen = "use Socket; $| = 1; socket my $raw, AF_INET, SOCK_RAW, 17 or die $!;
        print qq(ready\n);
        while (recv $raw, my $packet, 2000, 0) {
            my $text = substr $packet, 28; print qq($text\n); last if $text eq 'last'
        }";
    let mut command = lab.command(&["exec", "spy", "--", "perl", "-e", listen]);
    let listener = command.stdout(Stdio::piped()).spawn().expect("boxherd runs");
    let talk = |to: &str, text: &str| {
        let line = format!(
            "use Socket; socket my $s, AF_INET, SOCK_DGRAM, 0; send $s, '{text}', 0, \
             pack_sockaddr_in(9999, inet_aton('{to}')) or die $!"
        );
        lab.boxherd(&["exec", "talker", "--", "perl", "-e", &line]).ok();
    };
    talk(&victim, "secret");
    wait::until("the victim hears", || {
        lab.boxherd(&["logs", "victim"]).ok().contains("secret").then_some(())
    });
    // Until the spy listens, these go by it; what it hears in the end is what is for itself.
    let mut listener = Some(listener);
    wait::until("the spy hears its own", || {
        talk(&victim, "secret");
        talk(&spy, "last");
        let ended = listener.as_mut()?.try_wait().expect("it can be asked").is_some();
        ended.then_some(())
    });
    let heard = listener.take().expect("it ended").wait_with_output().expect("its output").stdout;
    assert_eq!(String::from_utf8_lossy(&heard), "ready\nlast\n");
}

/// How often the table of neighbours, one for all namespaces, has been full.
fn overflows() -> u64 {
    let table = fs::read_to_string("/proc/net/stat/arp_cache").expect("readable");
    let rows = table.lines().skip(1).filter_map(|row| row.split_whitespace().last());
    rows.map(|count| u64::from_str_radix(count, 16).expect("a number")).sum()
}

#[test]
fn the_table_of_neighbours_cannot_be_filled() {
    let Some(lab) = networked("the_table_of_neighbours_cannot_be_filled", &["greedy"]) else {
        return;
    };
    // Without a route, and without privilege: SO_BINDTODEVICE and SO_DONTROUTE have the kernel look
    // for a neighbour of any address. A socket takes few packets that wait for one.
    let flood = "use Socket; my @held;
        for my $n (0..9999) {
            if ($n % 20 == 0) {
                socket my $s, AF_INET, SOCK_DGRAM, 0 or die $!; push @held, $s;
                setsockopt $s, 1, 25, qq(eth0\\0) or die $!; setsockopt $s, 1, 5, pack 'i', 1 or die $!
            }
            send $held[-1], 'x', 0x40, pack_sockaddr_in(9, pack 'CCn', 10, 99, $n)
        }";
    let before = overflows();
    lab.boxherd(&["exec", "-u", "1000", "greedy", "--", "perl", "-e", flood]).ok();
    assert_eq!(overflows(), before);
}
