//! Ports of the host, with the SDK.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;

use boxherd_client::{Client, Command, Error, Event, NewBox, Running};
use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Server, with_server};

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

/// Says that it listens, answers one connection with what came, in capitals, when that has ended, and
/// says how many bytes it was.
const CAPITALS: &str = "import socket
s = socket.create_server(('', 7000))
print('listens', flush=True)
while True:
    c, _ = s.accept()
    came = b''
    while True:
        try: piece = c.recv(65536)
        except ConnectionError: break
        if not piece: break
        came += piece
    print(len(came), flush=True)
    try: c.sendall(came.upper())
    except ConnectionError: pass
    c.close()";

/// A box in which that listens, and the command that it is of.
async fn capitals(client: &Client) -> Running {
    client.boxes().create(NewBox::named("web")).await.unwrap();
    let listen = Command::argv(["python3", "-c", CAPITALS]);
    let mut running = client.boxes().exec("web", listen).await.unwrap();
    assert_eq!(running.next().await.unwrap(), Event::Stdout("listens\n".into()));
    running
}

async fn made_id(client: &Client) -> String {
    client.boxes().get("web").await.unwrap().id
}

with_server! {
    a_port_is_reached_without_one_of_the_host(server) {
        let client = server.client().await;
        let mut running = capitals(&client).await;
        let ports = client.ports("web");
        let (mut incoming, mut outgoing) = ports.dial(7000).await.unwrap();
        let sent = vec![b'x'; 3 << 20];
        outgoing.send(sent.clone()).await.unwrap();
        outgoing.close();
        let mut came = Vec::new();
        while let Some(bytes) = incoming.next().await.unwrap() {
            came.extend_from_slice(&bytes);
        }
        assert!(came == sent.to_ascii_uppercase(), "{} bytes came", came.len());
        assert_eq!(running.next().await.unwrap(), Event::Stdout("3145728\n".into()));

        // Dropped, it is gone, whatever the other end does.
        let (incoming, mut outgoing) = ports.dial(7000).await.unwrap();
        outgoing.send("abc").await.unwrap();
        drop(incoming);
        let Event::Stdout(told) = running.next().await.unwrap() else { panic!("no output") };
        assert!(["0\n", "3\n"].map(str::as_bytes).contains(&&*told), "{told:?}");
        drop(outgoing);

        let nobody = ports.dial(7001).await;
        assert!(matches!(nobody, Err(Error::WrongState(_))), "{nobody:?}");
        let key = server.lab.boxherd(&["key", "create", "--user", "other"]).ok();
        let other = server.builder().api_key(key.trim()).connect().await.unwrap();
        let hidden = other.ports(made_id(&client).await).dial(7000).await;
        assert!(matches!(hidden, Err(Error::NotFound(_))), "{hidden:?}");
        // By a grant, and by no other name than with the engine.
        server.lab.boxherd(&["user", "grant", "other", "local"]).ok();
        let named = format!("local:{}", made_id(&client).await);
        let (mut incoming, mut outgoing) = other.ports(&named).dial(7000).await.unwrap();
        outgoing.send("granted").await.unwrap();
        outgoing.close();
        assert_eq!(incoming.next().await.unwrap().as_deref(), Some(&b"GRANTED"[..]));
        let hidden = other.ports("web").dial(7000).await;
        assert!(matches!(hidden, Err(Error::NotFound(_))), "{hidden:?}");
        server.lab.boxherd(&["user", "revoke", "other", "local"]).ok();
        let hidden = other.ports(&named).dial(7000).await;
        assert!(matches!(hidden, Err(Error::NotFound(_))), "{hidden:?}");
        let none = ports.dial(0).await;
        assert!(matches!(none, Err(Error::Invalid(_))), "{none:?}");
        running.kill();
        client.boxes().destroy("web").await.unwrap();
    }

    the_command_line_forwards_over_a_server(server) {
        let client = server.client().await;
        let running = capitals(&client).await;
        let mut port = server.command(&["port", "web", "0:7000"]);
        let mut port = port.stdout(Stdio::piped()).spawn().expect("boxherd runs");
        let mut lines = BufReader::new(port.stdout.take().expect("a pipe")).lines();
        let line = lines.next().expect("a line").expect("text");
        let place = line.strip_suffix(" -> web:7000").expect(&line);
        for word in ["one", "two"] {
            let mut stream = TcpStream::connect(place).expect("it listens");
            stream.write_all(word.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, word.to_uppercase());
        }
        let pid = i32::try_from(port.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).unwrap();
        assert!(port.wait().unwrap().success());
        let none = server.boxherd(&["port", "nobody", "80"]);
        assert!(none.err.contains("no box `nobody`"), "{none:?}");
        running.kill();
        client.boxes().destroy("web").await.unwrap();
    }
}
