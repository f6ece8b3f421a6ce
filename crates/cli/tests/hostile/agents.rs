//! Agents that are not what they should be: the socket of a box is taken over by a listener of the
//! test, which plays an agent that was replaced by someone hostile.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use boxherd_link::frame::{FLAG_END, Header, Kind, PREFACE};
use boxherd_link::proto::{Answer, Failure, Hello, PROTOCOL, Reply, Started};
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Lab, Said};

/// What an agent does with a connection.
type Play = fn(UnixStream);

/// Puts a listener of ours in the place of the agent's, which goes on with the test's process.
fn replace_agent(lab: &Lab, play: Play) {
    let socket = folder(lab).join("link.sock");
    fs::remove_file(&socket).expect("the agent listens");
    let listener = UnixListener::bind(&socket).expect("bind");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || play(stream));
        }
    });
}

/// The folder of the only box.
fn folder(lab: &Lab) -> PathBuf {
    let mut boxes = fs::read_dir(lab.data().join("boxes")).expect("boxes").flatten();
    boxes.next().expect("a box").path()
}

fn frame(kind: Kind, flags: u8, channel: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small");
    [&Header { length, kind, flags, channel, stream }.encode()[..], payload].concat()
}

fn greeting() -> Vec<u8> {
    let hello = Hello { protocol: PROTOCOL, oldest_protocol: PROTOCOL, ..Hello::default() };
    [&PREFACE[..], &frame(Kind::Hello, 0, 0, 0, &hello.encode_to_vec())].concat()
}

fn reply(answer: Answer) -> Vec<u8> {
    Reply { answer: Some(answer) }.encode_to_vec()
}

/// Says that the command of the first stream has started.
fn started() -> Vec<u8> {
    let started = reply(Answer::Started(Started { id: 7, stdin: 0, stdin_open: false }));
    frame(Kind::Message, 0, 0, 1, &started)
}

/// Greets, waits for the first question, says `words`, and listens until the host hangs up.
fn greet_then(mut stream: UnixStream, words: &[u8]) {
    let mut heard = [0; 4096];
    // The host's own greeting comes first, and may come with the question.
    let begun = stream.write_all(&greeting()).and_then(|()| stream.read(&mut heard));
    let asked = |heard: &[u8]| heard.windows(5).any(|w| w == [Kind::Open.as_u8(), 0, 0, 0, 1]);
    let mut so_far = heard[..begun.unwrap_or(0)].to_vec();
    while !asked(&so_far) {
        match stream.read(&mut heard) {
            Ok(0) | Err(_) => return,
            Ok(count) => so_far.extend_from_slice(&heard[..count]),
        }
    }
    // The host may hang up in the middle.
    drop(stream.write_all(words));
    while stream.read(&mut heard).is_ok_and(|count| count > 0) {}
}

/// The box has a name, a state and an end, whatever its agent does.
fn is_managed(lab: &Lab) {
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "evil\n");
    assert_eq!(lab.state("evil"), "running null");
    lab.boxherd(&["stop", "--grace", "0s", "evil"]).ok();
    assert_eq!(lab.state("evil"), "stopped requested");
    lab.boxherd(&["start", "evil"]).ok();
    assert_eq!(lab.sh("evil", "echo a new agent").ok(), "a new agent\n");
    lab.boxherd(&["rm", "--force", "evil"]).ok();
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
}

fn fails_with(said: &Said, code: i32, words: &str) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert!(said.err.starts_with("error: ") && said.err.contains(words), "{words}: {said:?}");
    assert!(said.out.is_empty(), "{said:?}");
}

/// Runs commands that need the agent and expects `words` of each.
fn is_given_up(lab: &Lab, words: &str) {
    let here = tempfile::tempdir().expect("tempdir");
    let out = here.path().join("out");
    thread::scope(|scope| {
        scope.spawn(|| fails_with(&lab.boxherd(&["exec", "evil", "--", "true"]), 125, words));
        scope.spawn(|| fails_with(&lab.boxherd(&["cp", "/etc/hostname", "evil:/x"]), 1, words));
        let out = ["cp", "evil:/etc/hostname", out.to_str().expect("UTF-8")];
        scope.spawn(move || fails_with(&lab.boxherd(&out), 1, words));
    });
    assert!(!out.exists(), "nothing is half copied");
}

fn ends_in(test: &str, play: Play, words: &str) {
    let Some(lab) = Lab::open(test) else { return };
    lab.create("evil", &[]);
    replace_agent(&lab, play);
    is_given_up(&lab, words);
    is_managed(&lab);
}

#[test]
fn one_that_hangs_up_is_lost() {
    ends_in("one_that_hangs_up_is_lost", drop, "was lost");
}

#[test]
fn one_that_says_nothing_is_given_up() {
    let silent: Play = |mut stream| drop(stream.read_to_end(&mut Vec::new()));
    ends_in("one_that_says_nothing_is_given_up", silent, "did not answer within 10 s");
}

#[test]
fn one_that_sends_garbage_is_believed_nothing() {
    let garbage: Play = |mut stream| {
        let noise: Vec<u8> = (0..100_000_u32).map(|n| ((n * 7919) >> 3) as u8).collect();
        while stream.write_all(&noise).is_ok() {}
    };
    ends_in("one_that_sends_garbage", garbage, "broke the protocol");
}

#[test]
fn one_that_greets_and_then_says_nothing_is_given_up() {
    ends_in("one_that_greets", |stream| greet_then(stream, &[]), "did not answer within 20 s");
}

#[test]
fn one_that_lies_about_a_length_is_believed_nothing() {
    let liar: Play = |stream| {
        let header =
            Header { length: u32::MAX, kind: Kind::Message, flags: 0, channel: 0, stream: 1 };
        greet_then(stream, &header.encode());
    };
    ends_in("one_that_lies_about_a_length", liar, "a frame of 4294967295 bytes was announced");
}

#[test]
fn one_that_floods_is_believed_nothing() {
    // Each is in order, but more may not wait.
    let flood: Play = |stream| greet_then(stream, &started().repeat(1000));
    ends_in("one_that_floods", flood, "broke the protocol");
}

#[test]
fn what_it_says_cannot_drive_the_terminal() {
    let rude: Play = |stream| {
        let failure = Failure { cause: 0, errno: 0, message: "\x1b[2Jgone\r\n".repeat(1000) };
        greet_then(stream, &frame(Kind::Message, FLAG_END, 0, 1, &reply(Answer::Failure(failure))));
    };
    let Some(lab) = Lab::open("what_it_says_cannot_drive_the_terminal") else { return };
    lab.create("evil", &[]);
    replace_agent(&lab, rude);
    let said = lab.boxherd(&["exec", "evil", "--", "true"]);
    fails_with(&said, 125, "gone");
    assert!(said.err.len() < 1000, "{said:?}");
    assert!(!said.err.trim_end().contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
}

#[test]
fn a_command_that_is_never_ended_is_given_up_after_its_timeout() {
    let Some(lab) = Lab::open("a_command_that_is_never_ended") else { return };
    lab.create("evil", &[]);
    replace_agent(&lab, |stream| greet_then(stream, &started()));
    let said = lab.boxherd(&["exec", "--timeout", "1s", "evil", "--", "true"]);
    fails_with(&said, 125, "did not end the command");
    is_managed(&lab);
}

#[test]
fn one_that_is_stopped_by_a_signal_is_silent() {
    let Some(lab) = Lab::open("one_that_is_stopped_by_a_signal") else { return };
    lab.create("evil", &[]);
    let runtime = fs::read_to_string(folder(&lab).join("runtime.json")).expect("it runs");
    let runtime: serde_json::Value = serde_json::from_str(&runtime).expect("JSON");
    let pid = runtime["pid"].as_i64().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    kill_process(pid.expect("a pid"), Signal::STOP).expect("it runs");
    is_given_up(&lab, "did not answer within 10 s");
    is_managed(&lab);
}

#[test]
fn one_that_accepts_nothing_is_refused_at_once() {
    let Some(lab) = Lab::open("one_that_accepts_nothing") else { return };
    lab.create("evil", &[]);
    let socket = folder(&lab).join("link.sock");
    fs::remove_file(&socket).expect("the agent listens");
    let listener = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    )
    .expect("a socket");
    let address = rustix::net::SocketAddrUnix::new(&socket).expect("short");
    rustix::net::bind(&listener, &address).expect("bind");
    rustix::net::listen(&listener, 0).expect("listen");
    // Fills the queue, which has room for one.
    let _waiting = UnixStream::connect(&socket).expect("connect");
    is_given_up(&lab, "it accepts no more connections");
    is_managed(&lab);
}
