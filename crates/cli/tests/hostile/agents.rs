//! Agents that are not what they should be: the socket of a box is taken over by a listener of the
//! test, which plays an agent that was replaced by someone hostile.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;

use boxherd_link::frame::{Header, Kind};
use boxherd_link::proto::{Answer, Failure};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Lab, Said};
use crate::rogue::{Play, answers, folder, last_words, replace_agent, started};

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
    ends_in("one_that_greets", |stream| answers(stream, &[]), "did not answer within 20 s");
}

#[test]
fn one_that_lies_about_a_length_is_believed_nothing() {
    let liar: Play = |stream| {
        let header =
            Header { length: u32::MAX, kind: Kind::Message, flags: 0, channel: 0, stream: 1 };
        answers(stream, &[header.encode().to_vec()]);
    };
    ends_in("one_that_lies_about_a_length", liar, "a frame of 4294967295 bytes was announced");
}

#[test]
fn one_that_floods_is_believed_nothing() {
    // Each is in order, but more may not wait.
    let flood: Play = |stream| answers(stream, &[started().repeat(1000)]);
    ends_in("one_that_floods", flood, "broke the protocol");
}

#[test]
fn what_it_says_cannot_drive_the_terminal() {
    let rude: Play = |stream| {
        let message = "\x1b[2Jgone\r\n".repeat(1000);
        let failure = Answer::Failure(Failure { cause: 0, errno: 0, message });
        answers(stream, &[last_words(1, failure)]);
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
    replace_agent(&lab, |stream| answers(stream, &[started()]));
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
    let path = folder(&lab).join("link.sock");
    fs::remove_file(&path).expect("the agent listens");
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("bind");
    listen(&listener, 0).expect("listen");
    // Fills the queue, which has room for one.
    let _waiting = UnixStream::connect(&path).expect("connect");
    is_given_up(&lab, "it accepts no more connections");
    is_managed(&lab);
}
