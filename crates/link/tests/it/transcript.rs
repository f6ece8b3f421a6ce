//! The bytes that agents of each protocol sent, replayed against today's client. A transcript is
//! never changed; a new protocol adds one beside it.
//!
//! To record one, start the agent of that release and run these requests in this order over a link
//! whose bytes towards the host are kept (`record` below does it for the agent of today).

use boxherd_link::client::HANDSHAKE_TIMEOUT;
use boxherd_link::{ExecRequest, ExitStatus, FileKind, Link, ReadRange, WriteOptions};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the agent of protocol 1 sent.
const PROTOCOL_1: &[u8] = include_bytes!("../transcripts/protocol-1.bin");

/// Plays the agent's side: greets, then answers each stream once its request has begun.
fn replay(bytes: &'static [u8]) -> Link {
    let (host, agent) = tokio::io::duplex(1 << 20);
    let (mut reader, mut writer) = tokio::io::split(agent);
    tokio::spawn(async move {
        let mut requests = Vec::new();
        let mut buffer = [0; 4096];
        let mut frames = frames(bytes).into_iter().peekable();
        loop {
            while let Some(frame) = frames.next_if(|f| f.stream <= opened(&requests)) {
                if writer.write_all(frame.bytes).await.is_err() {
                    return;
                }
            }
            match reader.read(&mut buffer).await {
                Ok(count) if count > 0 => requests.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
    });
    Link::begin(host, HANDSHAKE_TIMEOUT)
}

struct Frame {
    stream: u32,
    bytes: &'static [u8],
}

/// Cuts a transcript into frames; the preface goes with the greeting.
fn frames(bytes: &'static [u8]) -> Vec<Frame> {
    use boxherd_link::frame::{HEADER, Header, PREFACE};
    let (mut frames, mut start, mut at) = (Vec::new(), 0, PREFACE.len());
    while let Some(header) = Header::decode(&bytes[at..]) {
        let end = at + HEADER + header.length as usize;
        frames.push(Frame { stream: header.stream, bytes: &bytes[start..end] });
        (start, at) = (end, end);
    }
    frames
}

/// The highest stream that the host has opened.
fn opened(requests: &[u8]) -> u32 {
    use boxherd_link::frame::{HEADER, Header, Kind, PREFACE};
    let (mut at, mut highest) = (PREFACE.len(), 0);
    while let Some(header) = requests.get(at..).and_then(Header::decode) {
        if header.kind == Kind::Open {
            highest = highest.max(header.stream);
        }
        at += HEADER + header.length as usize;
    }
    highest
}

/// The requests of a transcript, and what must come of them.
async fn converse(link: &Link) {
    let mut request = ExecRequest::shell("cat; echo err >&2; exit 7");
    request.stdin = true;
    let ran = link.exec(request).await.unwrap().collect("in\n".into(), 100).await.unwrap();
    assert_eq!((&ran.stdout[..], &ran.stderr[..]), (&b"in\n"[..], &b"err\n"[..]));
    assert_eq!(ran.status, ExitStatus::Code(7));
    let agent = link.agent().await.unwrap();
    assert_eq!(agent.protocol, 1);
    assert!(agent.features.iter().any(|f| f == "reattach"));
    let missing = link.exec(ExecRequest::argv(["no-such-program"])).await.unwrap();
    let missing = missing.collect(Bytes::new(), 100).await.unwrap();
    assert_eq!(missing.status, ExitStatus::Code(127));
    let files = link.files();
    let mut writer = files.write("/tmp/boxherd-transcript", WriteOptions::default()).unwrap();
    writer.send("content".into()).await.unwrap();
    writer.finish().await.unwrap();
    let reader = files.read("/tmp/boxherd-transcript", ReadRange::default()).unwrap();
    assert_eq!(reader.read_all(100).await.unwrap(), "content");
    let stat = files.stat("/tmp/boxherd-transcript").await.unwrap();
    assert_eq!((stat.kind, stat.size, stat.mode), (FileKind::File, 7, 0o644));
    files.remove("/tmp/boxherd-transcript", Default::default()).await.unwrap();
    let gone = files.stat("/tmp/boxherd-transcript").await.unwrap_err();
    assert_eq!(gone.errno(), Some(2));
    assert_eq!(link.dial(1).await.unwrap_err().errno(), Some(111));
}

#[tokio::test]
async fn the_agent_of_protocol_1_is_understood() {
    let link = replay(PROTOCOL_1);
    let conversed = converse(&link);
    tokio::time::timeout(std::time::Duration::from_secs(10), conversed).await.expect("it hangs");
}

/// Records the transcript of an agent that listens on the unix socket `BOXHERD_RECORD`.
#[tokio::test]
#[ignore = "records a transcript by hand"]
async fn record() {
    let Ok(socket) = std::env::var("BOXHERD_RECORD") else { return };
    let agent = tokio::net::UnixStream::connect(socket).await.unwrap();
    let (host, near) = tokio::io::duplex(1 << 20);
    let (mut from_agent, mut to_agent) = agent.into_split();
    let (mut from_host, mut to_host) = tokio::io::split(near);
    let forth = tokio::spawn(async move { tokio::io::copy(&mut from_host, &mut to_agent).await });
    let back = tokio::spawn(async move {
        let mut transcript = Vec::new();
        let mut buffer = vec![0; 65536];
        while let Ok(count @ 1..) = from_agent.read(&mut buffer).await {
            transcript.extend_from_slice(&buffer[..count]);
            if to_host.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        transcript
    });
    let link = Link::open(host).await.unwrap();
    converse(&link).await;
    link.close().await;
    forth.await.unwrap().unwrap();
    let transcript = back.await.unwrap();
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/new.bin"), transcript)
        .unwrap();
}
