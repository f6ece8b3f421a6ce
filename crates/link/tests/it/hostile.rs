//! Agents that send garbage, flood, lie, or say nothing: each ends in a clear error.

use boxherd_link::frame::{FLAG_END, HEADER, Header, Kind, PREFACE};
use boxherd_link::proto::{self, Answer, Reply};
use std::time::Duration;

use boxherd_link::{Exec, ExecRequest, Link, LinkError, ReadRange, Violation};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

fn frame(kind: Kind, flags: u8, channel: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { length: payload.len() as u32, kind, flags, channel, stream };
    [&header.encode()[..], payload].concat()
}

fn greeting(protocol: u32) -> Vec<u8> {
    let hello = proto::Hello { protocol, oldest_protocol: protocol, ..proto::Hello::default() };
    [&PREFACE[..], &frame(Kind::Hello, 0, 0, 0, &hello.encode_to_vec())].concat()
}

fn reply(answer: Answer) -> Vec<u8> {
    Reply { answer: Some(answer) }.encode_to_vec()
}

/// An agent that says `bytes` at once and then reads for ever.
fn says(bytes: Vec<u8>) -> DuplexStream {
    let (host, mut agent) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        // The host may hang up in the middle: that is what is tested.
        if agent.write_all(&bytes).await.is_ok() {
            let mut sink = vec![0; 4096];
            while agent.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        }
    });
    host
}

async fn open(bytes: Vec<u8>) -> Result<Link, LinkError> {
    Link::open(says(bytes)).await
}

fn started() -> Vec<u8> {
    reply(Answer::Started(proto::Started { id: 7, stdin: 0, stdin_open: false }))
}

/// A link to an agent that a test plays by hand, after the greeting.
async fn by_hand() -> (Link, DuplexStream) {
    let (host, mut agent) = tokio::io::duplex(4 << 20);
    agent.write_all(&greeting(1)).await.unwrap();
    (Link::open(host).await.unwrap(), agent)
}

/// A link that is begun with an agent that a test plays by hand, and that has not greeted.
fn begun() -> (Link, DuplexStream) {
    let (host, agent) = tokio::io::duplex(4 << 20);
    (Link::begin(host, Duration::from_millis(300)), agent)
}

/// A command that is asked for before anybody has greeted.
fn asked_early() -> (Link, DuplexStream, JoinHandle<Result<Exec, LinkError>>) {
    let (link, agent) = begun();
    let asking = link.clone();
    let asked = async move { asking.exec(ExecRequest::shell("true")).await };
    (link, agent, tokio::spawn(asked))
}

#[tokio::test]
async fn what_is_asked_first_goes_out_with_the_greeting() {
    let (link, mut agent, asked) = asked_early();
    opened(&mut agent).await;
    agent.write_all(&greeting(1)).await.unwrap();
    agent.write_all(&frame(Kind::Message, 0, 0, 1, &started())).await.unwrap();
    let exec = asked.await.unwrap().unwrap();
    assert_eq!(exec.id().as_u64(), 7);
    assert_eq!(link.agent().await.unwrap().protocol, 1);
}

#[tokio::test]
async fn what_was_asked_of_an_agent_that_never_greets_fails() {
    let (link, mut agent, asked) = asked_early();
    opened(&mut agent).await;
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Silent { after } if after.as_millis() == 300), "{error:?}");
    assert!(matches!(link.agent().await, Err(LinkError::Silent { .. })));
}

#[tokio::test]
async fn what_was_asked_of_an_agent_of_another_protocol_fails() {
    let (_link, mut agent, asked) = asked_early();
    opened(&mut agent).await;
    agent.write_all(&greeting(99)).await.unwrap();
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Version { theirs: 99, .. }), "{error:?}");
}

/// Reads until the host has opened its first stream: nothing may be said of it before.
async fn opened(agent: &mut DuplexStream) {
    let mut heard = vec![0; PREFACE.len()];
    agent.read_exact(&mut heard).await.unwrap();
    loop {
        heard.resize(HEADER, 0);
        agent.read_exact(&mut heard).await.unwrap();
        let header = Header::decode(&heard).unwrap();
        heard.resize(header.length as usize, 0);
        agent.read_exact(&mut heard).await.unwrap();
        if header.kind == Kind::Open {
            return;
        }
    }
}

/// What becomes of a command whose agent goes on with `bytes` after the start.
async fn exec_then(bytes: Vec<u8>) -> LinkError {
    let (link, mut agent) = by_hand().await;
    let exec = tokio::spawn(async move {
        let exec = link.exec(ExecRequest::argv(["x"])).await?;
        exec.collect(bytes::Bytes::new(), 1 << 30).await
    });
    opened(&mut agent).await;
    agent.write_all(&frame(Kind::Message, 0, 0, 1, &started())).await.unwrap();
    // The host may hang up in the middle.
    drop(agent.write_all(&bytes).await);
    exec.await.unwrap().unwrap_err()
}

#[tokio::test]
async fn one_that_never_answers_is_given_up() {
    let after = std::time::Duration::from_millis(20);
    let error = Link::open_within(says(Vec::new()), after).await.unwrap_err();
    assert!(matches!(error, LinkError::Silent { .. }), "{error}");
}

#[tokio::test]
async fn one_that_is_no_agent_is_told() {
    let error = open(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).await.unwrap_err();
    assert!(matches!(error, LinkError::Protocol(Violation::Preface)), "{error}");
}

#[tokio::test]
async fn one_that_hangs_up_is_lost() {
    let (host, agent) = tokio::io::duplex(10);
    drop(agent);
    let error = Link::open(host).await.unwrap_err();
    assert!(matches!(error, LinkError::Lost { .. }), "{error}");
}

#[tokio::test]
async fn one_of_an_unknown_protocol_is_named() {
    let error = open(greeting(9)).await.unwrap_err();
    assert!(matches!(error, LinkError::Version { theirs: 9, .. }), "{error}");
}

#[tokio::test]
async fn a_lie_about_a_length_ends_the_link() {
    let header = Header { length: 1 << 31, kind: Kind::Data, flags: 0, channel: 1, stream: 1 };
    let error = exec_then(header.encode().to_vec()).await;
    assert!(matches!(error, LinkError::Protocol(Violation::TooLong(_))), "{error}");
}

#[tokio::test]
async fn a_flood_of_messages_ends_the_link() {
    let error = exec_then(frame(Kind::Message, 0, 0, 1, &started()).repeat(1000)).await;
    assert!(matches!(error, LinkError::Protocol(Violation::Flood(1))), "{error}");
}

#[tokio::test]
async fn data_beyond_the_credit_ends_the_link() {
    let error = exec_then(frame(Kind::Data, 0, 1, 1, &[0; 250_000]).repeat(10)).await;
    assert!(matches!(error, LinkError::Protocol(Violation::Overrun(1))), "{error}");
}

#[tokio::test]
async fn an_answer_to_another_question_is_no_answer() {
    let done = reply(Answer::Done(proto::Nothing {}));
    let (link, mut agent) = by_hand().await;
    let asked = tokio::spawn(async move { link.stats().await });
    opened(&mut agent).await;
    agent.write_all(&frame(Kind::Message, FLAG_END, 0, 1, &done)).await.unwrap();
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Protocol(Violation::Malformed(_))), "{error}");
}

#[tokio::test]
async fn texts_of_the_box_cannot_drive_the_terminal() {
    let message = format!("bad\x1b[2J{}", "x".repeat(10_000));
    let failure = proto::Failure { cause: 0, errno: 0, message };
    let said = frame(Kind::Message, FLAG_END, 0, 1, &reply(Answer::Failure(failure)));
    let (link, mut agent) = by_hand().await;
    let mut reader = link.files().read("/x", ReadRange::default()).unwrap();
    agent.write_all(&said).await.unwrap();
    let shown = reader.next().await.unwrap_err().to_string();
    assert!(shown.starts_with("bad?[2J") && shown.len() <= 500, "{shown}");
}
