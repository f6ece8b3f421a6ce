//! Ports of the host that lead to boxes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use boxherd_boxd_api as api;

use crate::server::{User, Web};
use crate::wait::until;

/// Says what it hears: connections and datagrams, on port 7000.
const ECHO: &str = r"
import socket, threading
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(('', 7000))
def answer():
    while True:
        data, peer = datagrams.recvfrom(65535)
        datagrams.sendto(data, peer)
threading.Thread(target=answer, daemon=True).start()
def talk(stream):
    while data := stream.recv(65536):
        stream.sendall(data)
    stream.sendall(b'end')
    stream.close()
listener = socket.create_server(('', 7000))
while True:
    threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
";
const PATIENCE: Duration = Duration::from_secs(20);
const RESOURCE_EXHAUSTED: u32 = 8;
const INVALID_ARGUMENT: u32 = 3;
const FAILED_PRECONDITION: u32 = 9;
const NOT_FOUND: u32 = 5;

/// Ports for a test, which other processes of this run hardly choose.
fn range() -> String {
    let from = 20_000 + (std::process::id() * 20) % 10_000;
    format!("127.0.0.1:{from}-{}", from + 19)
}

fn echo_of(admin: &User<'_>, web: &Web) -> String {
    let cmd = ["/usr/bin/python3", "-c", ECHO].map(str::to_owned).to_vec();
    let asked = api::CreateVmRequest { name: "echo".to_owned(), cmd, ..Default::default() };
    let made: api::CreateVmResponse = admin.call("CreateVm", &asked).expect("a box");
    web.wait_for(&made.vm_id, &["7000"]);
    made.vm_id
}

fn expose(user: &User<'_>, port: u32, protocol: &str) -> Result<api::ExposePortResponse, u32> {
    let asked = api::ExposePortRequest {
        vm: "echo".to_owned(),
        vm_port: port,
        protocol: protocol.to_owned(),
        ..Default::default()
    };
    user.call("ExposePort", &asked)
}

fn place(forward: &api::ExposePortResponse) -> SocketAddr {
    let port = u16::try_from(forward.public_port).expect("a port");
    ([127, 0, 0, 1], port).into()
}

/// What comes back of a megabyte, once the listener is there.
fn echoes(place: SocketAddr) {
    let mut stream = until("the port is open", || TcpStream::connect(place).ok());
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let said: Vec<u8> = (0..1_000_000u32).map(|i| (i / 7) as u8).collect();
    let (mut writer, wanted) = (stream.try_clone().expect("a socket"), said.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&said).expect("it is taken");
        writer.shutdown(std::net::Shutdown::Write).expect("a socket");
    });
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("it comes back");
    writing.join().expect("a thread");
    // The end of what is said goes through by itself.
    assert_eq!(heard.len(), wanted.len() + 3);
    assert!(heard.starts_with(&wanted) && heard.ends_with(b"end"));
}

#[test]
fn ports_of_the_host_lead_to_boxes() {
    let Some(web) = Web::open_with("ports_lead_to_boxes", &["--forward-listen", &range()]) else {
        return;
    };
    let admin = web.admin();
    let id = echo_of(&admin, &web);
    let forward = expose(&admin, 7000, "tcp").expect("a port");
    assert_eq!((forward.vm_port, forward.protocol.as_str()), (7000, "tcp"));
    assert_eq!(expose(&admin, 7000, "").expect("the same").public_port, forward.public_port);
    echoes(place(&forward));

    // A suspended box wakes.
    let asked = api::SuspendVmRequest { vm_id: id.clone() };
    admin.call::<api::SuspendVmResponse>("SuspendVm", &asked).expect("it runs");
    echoes(place(&forward));

    let datagrams = expose(&admin, 7000, "udp").expect("a port");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    socket.connect(place(&datagrams)).expect("a socket");
    let mut heard = [0; 65_535];
    // Datagrams are lost where nobody listens yet.
    let length = until("a datagram comes back", || {
        let _ = socket.send(b"hello");
        socket.recv(&mut heard).ok()
    });
    assert_eq!(&heard[..length], b"hello");

    for (port, protocol, code) in [
        (0, "tcp", INVALID_ARGUMENT),
        (65_536, "tcp", INVALID_ARGUMENT),
        (1, "sctp", INVALID_ARGUMENT),
    ] {
        assert_eq!(
            expose(&admin, port, protocol).expect_err("nonsense"),
            code,
            "{port} {protocol}"
        );
    }
    expose(&admin, 1, "tcp").expect("a third");
    assert_eq!(expose(&admin, 2, "tcp").expect_err("a fourth"), RESOURCE_EXHAUSTED);
    assert_eq!(expose(&web.user("other"), 7000, "tcp").expect_err("not theirs"), NOT_FOUND);

    let asked = api::ListExposedPortsRequest { vm: id.clone() };
    let listed: api::ListExposedPortsResponse =
        admin.call("ListExposedPorts", &asked).expect("a list");
    assert_eq!(listed.forwards.len(), 3);

    // A port that leads nowhere any more is closed.
    let asked = api::UnexposePortRequest { vm: id.clone(), vm_port: 1, ..Default::default() };
    admin.call::<api::UnexposePortResponse>("UnexposePort", &asked).expect("it is there");
    assert_eq!(admin.call::<api::UnexposePortResponse>("UnexposePort", &asked), Err(NOT_FOUND));
    let asked = api::DestroyVmRequest { vm_id: id };
    admin.call::<api::DestroyVmResponse>("DestroyVm", &asked).expect("it is there");
    until("the port is closed", || TcpStream::connect(place(&forward)).is_err().then_some(()));
}

#[test]
fn a_server_without_ports_says_how_to_have_some() {
    let Some(web) = Web::open("a_server_without_ports") else { return };
    let admin = web.admin();
    let made = api::CreateVmRequest { name: "echo".to_owned(), ..Default::default() };
    let made: api::CreateVmResponse = admin.call("CreateVm", &made).expect("a box");
    assert_eq!(expose(&admin, 80, "tcp").expect_err("no ports"), FAILED_PRECONDITION);
    let asked = api::DestroyVmRequest { vm_id: made.vm_id };
    admin.call::<api::DestroyVmResponse>("DestroyVm", &asked).expect("it is there");
}
