//! DNS, asked by boxes and answered by a real `netd`.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use boxherd_net::netd::NetdCommand;
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType, rdata};

use crate::support::{
    FAR, FARTHER, Guest, HOST, Host, INSTALLATION, METADATA, OUTSIDE, egress, isolated, named,
    plays_host,
};

/// How long `netd` may take to do something that it does at once when the machine is idle.
const PATIENCE: Duration = Duration::from_secs(10);
/// After how long a resolver asks again.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);

impl Host {
    /// Makes the outside the host's name server, and starts `netd` the way the engine does.
    fn serve_names(&self, guest: &Guest) {
        let resolv_conf = self.data.path().join("resolv.conf");
        fs::write(&resolv_conf, format!("nameserver {OUTSIDE}\n")).unwrap();
        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(&resolv_conf).arg("/etc/resolv.conf");
        assert!(mount.status().unwrap().success());
        self.outside_names();
        self.wake_netd(guest);
    }

    fn wake_netd(&self, guest: &Guest) {
        self.networks.wake_netd(&guest.lease, &self.netd()).unwrap();
    }

    fn netd(&self) -> NetdCommand {
        NetdCommand {
            program: env!("CARGO_BIN_EXE_boxherd-netd").into(),
            arguments: vec![self.data.path().into(), INSTALLATION.into()],
        }
    }

    /// A name server on the outside that knows a few names.
    fn outside_names(&self) {
        let udp = self.outside.run(|| UdpSocket::bind((OUTSIDE, 53)).unwrap());
        let tcp = self.outside.run(|| TcpListener::bind((OUTSIDE, 53)).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).unwrap();
                let mut answer = outside_answer(&buffer[..length]);
                if answer.answers.len() > 20 {
                    answer = answer.truncate();
                }
                udp.send_to(&answer.to_vec().unwrap(), from).unwrap();
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let question = read_framed(&mut stream).unwrap();
                write_framed(&mut stream, &outside_answer(&question).to_vec().unwrap());
            }
        });
    }
}

fn outside_answer(bytes: &[u8]) -> Message {
    let question = Message::from_vec(bytes).unwrap();
    let query = question.queries[0].clone();
    let asked = query.name().clone();
    let mut answer = question.into_response();
    answer.edns = None;
    let address = |address| RData::A(rdata::A(address));
    let mut say = |name, data| {
        answer.add_answer(Record::from_rdata(name, 30, data));
    };
    match (asked.to_ascii().trim_end_matches('.'), query.query_type()) {
        ("far.test", RecordType::A) => say(asked, address(FAR)),
        ("alias.test", RecordType::A) => {
            say(asked, RData::CNAME(rdata::CNAME("far.test.".parse().unwrap())));
            say("far.test.".parse().unwrap(), address(FAR));
            say("unasked.test.".parse().unwrap(), address(FARTHER));
        }
        ("evil.test", RecordType::A) => {
            say(asked.clone(), address(METADATA));
            say(asked, address(FAR));
        }
        ("big.test", RecordType::TXT) => {
            for number in 0..60 {
                let text = format!("{number} {}", "x".repeat(100));
                say(asked.clone(), RData::TXT(rdata::TXT::new(vec![text])));
            }
        }
        _ => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer
}

fn write_framed(stream: &mut TcpStream, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).unwrap();
}

fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.parse().unwrap(), kind));
    message
}

impl Guest {
    /// Asks the gateway by UDP and waits for the answer. Asks again as every resolver does: a
    /// datagram may be lost where more come than are read.
    fn look_up(&self, name: &str, kind: RecordType) -> Message {
        let question = question(name, kind);
        let socket = self.dns_socket();
        socket.set_read_timeout(Some(RESOLVER_TIMEOUT)).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        let length = loop {
            socket.send(&question.to_vec().unwrap()).unwrap();
            match socket.recv(&mut buffer) {
                Ok(length) => break length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(Instant::now() < deadline, "no answer about {name}");
                }
                Err(error) => panic!("{error}"),
            }
        };
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.id, question.metadata.id);
        assert_eq!(answer.metadata.message_type, MessageType::Response);
        answer
    }

    fn look_up_by_tcp(&self, name: &str, kind: RecordType) -> Message {
        let gateway = SocketAddr::from((self.lease.gateway(), 53));
        let mut stream = self.run(|| TcpStream::connect_timeout(&gateway, PATIENCE).unwrap());
        write_framed(&mut stream, &question(name, kind).to_vec().unwrap());
        Message::from_vec(&read_framed(&mut stream).unwrap()).unwrap()
    }

    fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        addresses(&self.look_up(name, RecordType::A))
    }

    fn dns_socket(&self) -> UdpSocket {
        let socket = self.udp((Ipv4Addr::UNSPECIFIED, 0));
        socket.connect((self.lease.gateway(), 53)).unwrap();
        socket
    }
}

fn addresses(answer: &Message) -> Vec<Ipv4Addr> {
    let address = |record: &Record| match record.data {
        RData::A(rdata::A(address)) => Some(address),
        _ => None,
    };
    answer.answers.iter().filter_map(address).collect()
}

fn v4(guest: &Guest) -> Ipv4Addr {
    match guest.address() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("networks carry IPv4"),
    }
}

/// Waits until `netd` has done something.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::yield_now();
    }
}

#[test]
fn boxes_of_a_network_find_each_other_by_name() {
    if !plays_host("names::boxes_of_a_network_find_each_other_by_name") {
        return;
    }
    let host = Host::new();
    let (web, db) = (host.default_box("web"), host.default_box("db"));
    let elsewhere = host.connect("elsewhere", &named("staging"));
    host.serve_names(&web);
    assert_eq!(web.addresses("db."), [v4(&db)]);
    assert_eq!(web.addresses("DB."), [v4(&db)]);
    assert_eq!(addresses(&web.look_up_by_tcp("db.", RecordType::A)), [v4(&db)]);
    let none = web.look_up("db.", RecordType::AAAA);
    assert_eq!(none.metadata.response_code, ResponseCode::NoError);
    assert!(none.answers.is_empty());
    for name in ["elsewhere.", "nobody."] {
        let unknown = web.look_up(name, RecordType::A);
        assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    assert_eq!(elsewhere.addresses("elsewhere."), [v4(&elsewhere)]);
}

#[test]
fn names_follow_their_boxes() {
    if !plays_host("names::names_follow_their_boxes") {
        return;
    }
    let host = Host::new();
    let (web, db) = (host.default_box("web"), host.default_box("db"));
    host.serve_names(&web);
    host.networks.rename(db.lease.id(), &"postgres".parse().unwrap()).unwrap();
    assert_eq!(web.addresses("postgres."), [v4(&db)]);
    assert!(web.addresses("db.").is_empty());
    let second = host.default_box("db");
    assert_eq!(web.addresses("db."), [v4(&second)]);
    host.networks.release(db.lease.id()).unwrap();
    assert!(web.addresses("postgres.").is_empty());
    assert_eq!(web.addresses("db."), [v4(&second)]);
}

#[test]
fn other_names_are_asked_of_the_hosts_name_server() {
    if !plays_host("names::other_names_are_asked_of_the_hosts_name_server") {
        return;
    }
    let host = Host::new();
    let web = host.connect("web", &isolated());
    host.serve_names(&web);
    assert_eq!(web.addresses("far.test."), [FAR]);
    let unknown = web.look_up("nobody.test.", RecordType::A);
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
    // An answer that is too long for a datagram says so, and comes by TCP.
    assert!(web.look_up("big.test.", RecordType::TXT).metadata.truncation);
    assert_eq!(web.look_up_by_tcp("big.test.", RecordType::TXT).answers.len(), 60);
}

#[test]
fn a_listed_name_opens_the_addresses_it_leads_to() {
    if !plays_host("names::a_listed_name_opens_the_addresses_it_leads_to") {
        return;
    }
    let host = Host::new();
    let strict = host.connect("strict", &egress(&["alias.test:80"]));
    host.serve_names(&strict);
    for port in [80, 81] {
        host.outside.serve((Ipv4Addr::UNSPECIFIED, port), "outside");
    }
    assert_eq!(strict.ask((FAR, 80)), None, "nobody has asked yet");
    let answer = strict.look_up("alias.test.", RecordType::A);
    assert_eq!(addresses(&answer), [FAR], "what was not asked is left out");
    assert_eq!(strict.ask((FAR, 80)).as_deref(), Some("outside"));
    assert_eq!(strict.ask((FAR, 81)), None);
    assert_eq!(strict.ask((FARTHER, 80)), None);
    // Asking again renews; what is not listed stays unknown.
    assert_eq!(strict.addresses("alias.test."), [FAR]);
    let refused = strict.look_up("far.test.", RecordType::A);
    assert_eq!(refused.metadata.response_code, ResponseCode::NXDomain);
    assert!(strict.look_up("alias.test.", RecordType::TXT).answers.is_empty());
}

#[test]
fn a_listed_name_opens_neither_metadata_nor_another_box() {
    if !plays_host("names::a_listed_name_opens_neither_metadata_nor_another_box") {
        return;
    }
    let host = Host::new();
    let strict = host.connect("strict", &egress(&["evil.test"]));
    host.serve_names(&strict);
    host.outside.serve((Ipv4Addr::UNSPECIFIED, 80), "outside");
    assert_eq!(strict.addresses("evil.test."), [FAR]);
    assert!(strict.pings(FAR), "a rule without a port opens all of them");
    assert_eq!(strict.ask((METADATA, 80)), None);
}

#[test]
fn a_listed_box_is_reached_by_its_name() {
    if !plays_host("names::a_listed_box_is_reached_by_its_name") {
        return;
    }
    let host = Host::new();
    let (strict, db) = (host.connect("strict", &egress(&["db:5432"])), host.default_box("db"));
    db.serve((Ipv4Addr::UNSPECIFIED, 5432), "db");
    host.serve_names(&strict);
    assert_eq!(strict.ask(db.at(5432)), None);
    assert_eq!(strict.addresses("db."), [v4(&db)]);
    assert_eq!(strict.ask(db.at(5432)).as_deref(), Some("db"));
}

#[test]
fn pins_go_with_their_box() {
    if !plays_host("names::pins_go_with_their_box") {
        return;
    }
    let host = Host::new();
    let strict = host.connect("strict", &egress(&["far.test"]));
    host.serve_names(&strict);
    assert_eq!(strict.addresses("far.test."), [FAR]);
    let pin = format!("{} . {FAR}", strict.address());
    assert!(crate::support::said("nft", "list ruleset").contains(&pin));
    host.networks.release(strict.lease.id()).unwrap();
    assert!(!crate::support::said("nft", "list ruleset").contains(&pin));
}

#[test]
fn garbage_is_survived_and_not_answered() {
    if !plays_host("names::garbage_is_survived_and_not_answered") {
        return;
    }
    let host = Host::new();
    let web = host.default_box("web");
    host.serve_names(&web);
    let socket = web.dns_socket();
    let random = fs::File::open("/dev/urandom").unwrap();
    for length in 0..400 {
        let mut bytes = vec![0; length * 3];
        (&random).read_exact(&mut bytes).unwrap();
        socket.send(&bytes).unwrap();
    }
    // Answers among questions are not answered: two servers would answer each other for ever.
    let mut answer = question("db.", RecordType::A).into_response();
    answer.metadata.id = 4711;
    socket.send(&answer.to_vec().unwrap()).unwrap();
    let gateway = SocketAddr::from((web.lease.gateway(), 53));
    for length in [0u16, 1, 1024, u16::MAX] {
        let mut stream = web.run(|| TcpStream::connect_timeout(&gateway, PATIENCE).unwrap());
        // The server may have hung up by then, which is its good right.
        let _ = stream.write_all(&[&length.to_be_bytes()[..], &[0xff; 1500]].concat());
    }
    assert_eq!(web.addresses("web."), [v4(&web)]);
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer) {
        let said = Message::from_vec(&buffer[..length]).unwrap();
        assert_ne!(said.metadata.id, 4711);
        assert!(said.answers.is_empty(), "{said}");
    }
}

#[test]
fn one_netd_runs_while_there_are_leases() {
    if !plays_host("names::one_netd_runs_while_there_are_leases") {
        return;
    }
    let host = Host::new();
    let web = host.default_box("web");
    host.serve_names(&web);
    assert_eq!(web.addresses("web."), [v4(&web)]);
    for _ in 0..3 {
        host.wake_netd(&web);
        Command::new(host.netd().program).args(host.netd().arguments).status().unwrap();
    }
    assert_eq!(netds(&host), 1);
    // A network that is made later is served as well.
    let late = host.connect("late", &named("late"));
    eventually("the new network is served", || {
        let socket = late.dns_socket();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        socket.send(&question("late.", RecordType::A).to_vec().unwrap()).is_ok()
            && socket.recv(&mut [0; 512]).is_ok()
    });
    host.networks.release(web.lease.id()).unwrap();
    assert_eq!(late.addresses("late."), [v4(&late)]);
    host.networks.release(late.lease.id()).unwrap();
    eventually("netd ends with the last lease", || netds(&host) == 0);
    // And starts again.
    let again = host.default_box("again");
    host.wake_netd(&again);
    assert_eq!(again.addresses("again."), [v4(&again)]);
}

/// How many processes run `netd` for this host's data folder.
fn netds(host: &Host) -> usize {
    let data = host.data.path().to_str().unwrap();
    let runs = |entry: &fs::DirEntry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        command.contains("boxherd-netd") && command.contains(data)
    };
    fs::read_dir("/proc").unwrap().flatten().filter(runs).count()
}

#[test]
fn strangers_are_not_answered() {
    if !plays_host("names::strangers_are_not_answered") {
        return;
    }
    let host = Host::new();
    let web = host.default_box("web");
    host.serve_names(&web);
    assert_eq!(web.addresses("web."), [v4(&web)]);
    host.outside.ip(&format!("route add 10.0.0.0/8 via {HOST}"));
    let socket = host.outside.udp((OUTSIDE, 0));
    let question = question("web.", RecordType::A).to_vec().unwrap();
    socket.send_to(&question, (web.lease.gateway(), 53)).unwrap();
    assert!(socket.recv(&mut [0; 512]).is_err());
}

#[test]
fn the_firewall_is_mended_while_boxes_run() {
    if !plays_host("names::the_firewall_is_mended_while_boxes_run") {
        return;
    }
    let host = Host::new();
    let web = host.default_box("web");
    host.serve_names(&web);
    assert!(web.pings(OUTSIDE));
    crate::support::said("nft", "flush ruleset");
    eventually("the tables are back", || {
        crate::support::said("nft", "list tables").lines().count() == 2
    });
    assert!(web.pings(OUTSIDE));
}
