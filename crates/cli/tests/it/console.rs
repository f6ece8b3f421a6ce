//! What a box says by itself, and the ports it listens on.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::Lab;
use crate::wait;

#[test]
fn a_box_that_ended_by_itself_says_why_in_the_list() {
    let Some(lab) = Lab::open("a_box_that_ended_by_itself") else { return };
    lab.create("web", &["--", "sh", "-c", "exit 7"]);
    wait::until("it ends", || {
        let listed = lab.boxherd(&["ls"]).ok();
        listed.contains("stopped (exited:7)").then_some(())
    });
}

#[test]
fn logs_are_what_the_program_wrote() {
    let Some(lab) = Lab::open("logs_are_what_the_program_wrote") else { return };
    lab.create("web", &["--", "sh", "-c", "echo one; echo two; echo three"]);
    let followed = lab.boxherd(&["logs", "-f", "web"]).ok();
    assert_eq!(followed, "one\ntwo\nthree\n", "and it ended when the box did");
    assert_eq!(lab.boxherd(&["logs", "web"]).ok(), followed);
    assert_eq!(lab.boxherd(&["logs", "--tail", "1", "web"]).ok(), "three\n");
}

#[test]
fn logs_that_are_followed_end_when_the_box_is_stopped() {
    let Some(lab) = Lab::open("logs_that_are_followed_end") else { return };
    lab.create("web", &["--", "sh", "-c", "echo here; exec sleep 1000"]);
    let mut command = lab.command(&["logs", "-f", "web"]);
    let mut follower = command.stdout(Stdio::piped()).spawn().expect("boxherd runs");
    let mut output = BufReader::new(follower.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "here\n");
    lab.boxherd(&["stop", "--grace", "1s", "web"]).ok();
    assert!(follower.wait().expect("it ends").success());
}

#[test]
fn a_port_of_a_box_is_reached_here() {
    const SERVER: &str = "use IO::Socket; $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', \
        LocalPort => 8080, Listen => 1) or die $@; $| = 1; print qq(ready\n); \
        while ($c = $s->accept) { print $c qq(from the box\n); close $c }";
    let Some(lab) = Lab::open("a_port_of_a_box_is_reached_here") else { return };
    lab.create("web", &["--", "perl", "-e", SERVER]);
    wait::until("the server listens", || {
        lab.boxherd(&["logs", "web"]).ok().contains("ready").then_some(())
    });
    let mut command = lab.command(&["port", "web", ":8080"]);
    let mut forwarder = command.stdout(Stdio::piped()).spawn().expect("boxherd runs");
    let mut line = String::new();
    BufReader::new(forwarder.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let (local, rest) = line.split_once(' ').expect("two ends");
    assert_eq!(rest, "-> web:8080\n");
    for _ in 0..2 {
        let mut said = String::new();
        TcpStream::connect(local).expect("connect").read_to_string(&mut said).expect("read");
        assert_eq!(said, "from the box\n");
    }
    kill_process(Pid::from_child(&forwarder), Signal::TERM).expect("it runs");
    assert!(forwarder.wait().expect("it ends").success(), "a signal is how it is ended");
}
