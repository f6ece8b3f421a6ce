//! Bodies of any length, events, and connections that become something else.

use std::process::Command;

use hyper::Request;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::Web;

const LARGE: usize = 100_000_000;

/// The SHA-256 of a file, by the system's own program.
fn sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("a file");
    let output = Command::new("sha256sum").arg(file.path()).output().expect("sha256sum runs");
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a sum").to_owned()
}

#[test]
fn a_hundred_megabytes_come_and_go_whole() {
    let Some(web) = Web::open("a_hundred_megabytes") else { return };
    web.host_box("web", &["8000"]);
    let expected: Vec<u8> = (0..=255).cycle().take(LARGE).collect();
    let answer = web.get(&format!("/large?{LARGE}"), "web.localhost");
    assert!(answer.body == expected, "{} bytes came", answer.body.len());

    let mut client = web.client();
    client.send(format!(
        "POST /sum HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    client.send(&expected);
    let (status, headers) = client.head();
    assert_eq!(status, 200);
    let length = headers.iter().find(|(name, _)| name == "content-length").expect("a length");
    let said = String::from_utf8(client.bytes(length.1.parse().expect("a number"))).expect("text");
    assert_eq!(said, format!("{LARGE} {}", sha256(&expected)));
}

#[test]
fn pieces_of_a_body_go_on_as_they_come_both_ways() {
    let Some(web) = Web::open("pieces_of_a_body_go_on_as_they_come") else { return };
    web.host_box("web", &["8000"]);
    let mut client = web.client();
    client.send("POST /echo HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3\r\none\r\n");
    assert_eq!(client.head().0, 200);
    // The second is sent when the first has come back: nothing waits for the whole.
    assert_eq!(client.chunk(), b"one");
    client.send("3\r\ntwo\r\n");
    assert_eq!(client.chunk(), b"two");
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk(), b"");
    assert_eq!(client.ask("GET /whoami", "web.localhost", "").status, 200);
}

#[test]
fn events_arrive_when_they_are_sent() {
    let Some(web) = Web::open("events_arrive_when_they_are_sent") else { return };
    web.host_box("web", &["8000"]);
    let mut client = web.client();
    client.send("GET /events HTTP/1.1\r\nHost: web.localhost\r\nAccept: text/event-stream\r\n\r\n");
    assert_eq!(client.head().0, 200);
    assert_eq!(client.chunk(), b"data: first\n\n");
    // The second is sent when somebody asks for it, which is after the first has come.
    assert_eq!(web.get("/go", "web.localhost").text(), "gone");
    assert_eq!(client.chunk(), b"data: second\n\n");
    assert_eq!(client.chunk(), b"");
}

#[test]
fn a_websocket_is_a_connection_both_ways() {
    let Some(web) = Web::open("a_websocket_is_a_connection_both_ways") else { return };
    web.host_box("web", &["8000"]);
    let mut client = web.client();
    client.send(
        "GET /upgrade HTTP/1.1\r\nHost: web.localhost\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let (status, headers) = client.head();
    assert_eq!(status, 101);
    // The example of RFC 6455 §1.3.
    let accept = ("sec-websocket-accept".to_owned(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
    assert!(headers.contains(&accept), "{headers:?}");
    // Bytes are passed on as they are, whatever frames they make.
    for round in 0..100_u32 {
        let frame = [&[0x82, 4][..], &round.to_be_bytes()].concat();
        client.send(&frame);
        assert_eq!(client.bytes(frame.len()), frame);
    }
    client.end_writing();
    assert_eq!(client.rest(), b"");
}

/// What a browser does that has a connection of HTTP/2 to the proxy (RFC 8441).
#[test]
fn a_websocket_over_http2_is_one_stream_of_many() {
    let Some(web) = Web::open("a_websocket_over_http2") else { return };
    web.host_box("web", &["8000"]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", web.port)).await.expect("the proxy listens");
        let connected = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = connected.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        // The server has to say first that it can.
        sender.ready().await.expect("it answers");
        let plain = sender.send_request(request("GET", "/whoami", None)).await.expect("an answer");
        assert_eq!(plain.status(), 200);

        let asked = request("CONNECT", "/upgrade", Some("websocket"));
        let answer = sender.send_request(asked).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("sec-websocket-accept"), "{answer:?}");
        let opened = hyper::upgrade::on(answer).await.expect("a stream");
        let mut websocket = TokioIo::new(opened);
        for round in 0..100_u32 {
            let frame = [&[0x82, 4][..], &round.to_be_bytes()].concat();
            websocket.write_all(&frame).await.expect("it goes");
            let mut back = vec![0; frame.len()];
            websocket.read_exact(&mut back).await.expect("it comes back");
            assert_eq!(back, frame);
        }
        websocket.shutdown().await.expect("an end");
        assert_eq!(websocket.read(&mut [0]).await.expect("an end"), 0);

        let refused = |path, protocol| request("CONNECT", path, Some(protocol));
        for (asked, status) in [
            (refused("/upgrade", "connect-udp"), 501),
            (refused("/whoami", "websocket"), 502),
            (refused("/nothing", "websocket"), 404),
        ] {
            let answer = sender.send_request(asked).await.expect("an answer");
            assert_eq!(answer.status(), status);
        }
    });
}

fn request(method: &str, path: &str, protocol: Option<&'static str>) -> Request<String> {
    let request = Request::builder().method(method).uri(format!("http://web.localhost{path}"));
    let mut request = request.body(String::new()).expect("a request");
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(Protocol::from_static(protocol));
    }
    request
}
