//! Ports of the host, with the SDK.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use boxherd_client::{Command, Error, Event, NewBox};

use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_the_host_leads_to_a_box() {
    let test = "a_port_of_the_host_leads_to_a_box";
    // Which other processes of this run hardly choose.
    let from = 30_000 + (std::process::id() * 10) % 2_000;
    let range = format!("127.0.0.1:{from}-{}", from + 9);
    let Some(server) = Server::open_with(test, &["--forward-listen", &range]) else { return };
    let client = server.client().await;
    client.boxes().create(NewBox::named("db")).await.unwrap();
    let script = "import socket; s = socket.create_server(('', 5432)); print('listens', flush=True); \
                  c, _ = s.accept(); c.sendall(c.recv(100).upper())";
    let listen = Command::argv(["python3", "-c", script]);
    let mut listener = client.boxes().exec("db", listen).await.unwrap();
    let said = listener.next().await.unwrap();
    assert_eq!(said, Event::Stdout("listens\n".into()));
    let ports = client.ports("db");
    let open = ports.expose(5432, "tcp").await.unwrap();
    assert_eq!((open.port, open.protocol.as_str()), (5432, "tcp"));
    let mut stream = TcpStream::connect(("127.0.0.1", open.public_port)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "HELLO");
    assert_eq!(listener.output().await.unwrap().code, 0);
    assert_eq!(ports.list().await.unwrap(), [open]);
    ports.unexpose(5432).await.unwrap();
    assert!(ports.list().await.unwrap().is_empty());
    let unknown = ports.expose(5432, "sctp").await;
    assert!(matches!(unknown, Err(Error::Invalid(_))), "{unknown:?}");
    client.boxes().destroy("db").await.unwrap();
}
