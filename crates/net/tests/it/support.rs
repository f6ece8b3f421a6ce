//! A host, boxes and an outside, each a network namespace of its own, so that nothing of this
//! machine is touched.
//!
//! A test runs itself again in new network, pid and mount namespaces; that copy plays the host, and
//! every process it leaves dies with it.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use boxherd_model::{BoxId, NetworkSpec};
use boxherd_net::{Lease, Networks};
use boxherd_testkit::{programs_or_skip, root_or_skip};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

/// Set in the copy that plays the host.
const PLAYS_HOST: &str = "BOXHERD_TEST_PLAYS_HOST";
/// How long a connection may take that is expected to come to nothing.
const PATIENCE: Duration = Duration::from_millis(400);

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// Two more addresses of the outside.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub(crate) const FARTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Whether this process plays the host of `test`. If it does not, it has run the copy that does,
/// and the test is over.
pub(crate) fn plays_host(test: &str) -> bool {
    if std::env::var_os(PLAYS_HOST).is_some() {
        return true;
    }
    if !root_or_skip(test) || !programs_or_skip(test, &["nft", "ip", "unshare", "ping", "sleep"]) {
        return false;
    }
    let namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let copy = Command::new("unshare")
        .args(namespaces)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(PLAYS_HOST, "yes")
        .status()
        .unwrap();
    assert!(copy.success(), "the copy that plays the host failed");
    false
}

/// Runs `ip` with the words of `line`.
pub(crate) fn ip(line: &str) {
    let status = Command::new("ip").args(line.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {line}");
}

/// The output of a program.
pub(crate) fn said(program: &str, line: &str) -> String {
    let output = Command::new(program).args(line.split_whitespace()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A network namespace, held by a process that sleeps.
pub(crate) struct Namespace {
    sleeper: Child,
    file: File,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let sleeper = Command::new("unshare")
            .args(["--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let path = format!("/proc/{}/ns/net", sleeper.id());
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        while fs::read_link(&path).unwrap() == own {
            thread::yield_now();
        }
        Self { file: File::open(path).unwrap(), sleeper }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs `ip` in here.
    pub(crate) fn ip(&self, line: &str) {
        self.run(|| ip(line));
    }

    /// Runs something on a thread that is in here.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.enter();
                    work()
                })
                .join()
                .unwrap()
        })
    }

    /// Answers every TCP connection to `address` in here with `word`, until the test ends.
    pub(crate) fn serve(&self, address: impl Into<SocketAddr>, word: &'static str) {
        let address = address.into();
        let listener = self.run(|| TcpListener::bind(address).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Whoever connects only to see whether it can may be gone already.
                let _ = std::io::Write::write_all(&mut stream.unwrap(), word.as_bytes());
            }
        });
    }

    /// What a TCP server says to someone in here; `None` when it cannot be reached.
    pub(crate) fn ask(&self, address: impl Into<SocketAddr>) -> Option<String> {
        let address = address.into();
        self.run(|| {
            let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
            std::io::read_to_string(stream).ok()
        })
    }

    /// Whether an address answers a ping from here.
    pub(crate) fn pings(&self, address: impl Into<IpAddr>) -> bool {
        let line = format!("-n -c 1 -W 1 {}", address.into());
        self.run(|| {
            let output = Command::new("ping").args(line.split_whitespace()).output();
            output.unwrap().status.success()
        })
    }

    /// A UDP socket in here.
    pub(crate) fn udp(&self, address: impl Into<SocketAddr>) -> UdpSocket {
        let address = address.into();
        let socket = self.run(|| UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn enter(&self) {
        move_into_link_name_space(self.fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.sleeper.kill().unwrap();
        self.sleeper.wait().unwrap();
    }
}

/// The host that this process plays, with an outside behind it.
pub(crate) struct Host {
    pub(crate) networks: Networks,
    pub(crate) data: TempDir,
    pub(crate) outside: Namespace,
}

pub(crate) const INSTALLATION: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f809";

impl Host {
    pub(crate) fn new() -> Self {
        let data = TempDir::new().unwrap();
        let outside = Namespace::new();
        ip("link set lo up");
        ip(&format!("link add up0 type veth peer name eth0 netns {}", outside.sleeper.id()));
        ip(&format!("address add {HOST}/24 dev up0"));
        ip("link set up0 up");
        outside.ip("link set lo up");
        outside.ip(&format!("address add {OUTSIDE}/24 dev eth0"));
        for address in [FAR, FARTHER, METADATA] {
            outside.ip(&format!("address add {address}/32 dev lo"));
        }
        outside.ip("link set eth0 up");
        ip(&format!("route add default via {OUTSIDE}"));
        let networks = Networks::open(data.path(), INSTALLATION).unwrap();
        Self { networks, data, outside }
    }

    pub(crate) fn connect(&self, name: &str, spec: &NetworkSpec) -> Guest {
        Guest::start(&self.networks, BoxId::new(), name, spec)
    }

    pub(crate) fn default_box(&self, name: &str) -> Guest {
        self.connect(name, &NetworkSpec::default())
    }
}

/// A box as far as this room sees it: a namespace with a port.
pub(crate) struct Guest {
    pub(crate) namespace: Namespace,
    pub(crate) lease: Lease,
}

impl Guest {
    pub(crate) fn start(networks: &Networks, id: BoxId, name: &str, spec: &NetworkSpec) -> Self {
        let namespace = Namespace::new();
        let lease = networks.reserve(id, &name.parse().unwrap(), spec).unwrap();
        networks.plug(&lease, namespace.fd()).unwrap();
        Self { namespace, lease }
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.lease.addresses()[0]
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (self.address(), port).into()
    }
}

impl std::ops::Deref for Guest {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

/// The network `default`, with other boxes out of sight.
pub(crate) fn isolated() -> NetworkSpec {
    network("default", true, None)
}

/// The network `default`, with nothing in sight but `rules`.
pub(crate) fn egress(rules: &[&str]) -> NetworkSpec {
    network("default", false, Some(rules))
}

/// A network of another name.
pub(crate) fn named(name: &str) -> NetworkSpec {
    network(name, false, None)
}

fn network(name: &str, isolated: bool, rules: Option<&[&str]>) -> NetworkSpec {
    let egress =
        rules.map(|rules| rules.iter().map(|rule| rule.parse().unwrap()).collect::<Vec<_>>());
    NetworkSpec::Bridge { name: name.parse().unwrap(), isolated, egress }
}
