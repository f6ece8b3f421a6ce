//! Connections to a server that are cut while something runs over them.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use boxherd_testkit::LxdLab;

use crate::lab::{Lab, Said};

/// A way to a server that can be cut.
struct Wire {
    port: u16,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// Listens for as long as the test runs.
    fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let ends: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (kept, server) = (Arc::clone(&ends), server.to_owned());
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&server) else { continue };
                kept.lock().expect("no panics").extend([
                    near.try_clone().expect("a descriptor"),
                    far.try_clone().expect("a descriptor"),
                ]);
                carry(&near, &far);
                carry(&far, &near);
            }
        });
        Self { port, ends }
    }

    /// Cuts every connection, as a network does that is gone for a moment. Answers how many.
    fn cut(&self) -> usize {
        let ends = std::mem::take(&mut *self.ends.lock().expect("no panics"));
        // One that was closed already is cut.
        ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        ends.len() / 2
    }
}

fn carry(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) =
        (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
    thread::spawn(move || {
        // Cut or closed: either end is the other's.
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
}

/// A box on a server behind a wire.
struct Far {
    lab: Lab,
    wire: Wire,
    at: String,
}

impl Far {
    fn open(test: &str, name: &str) -> Option<Self> {
        let server = boxherd_testkit::lxd_lab_or_skip(test)?;
        let lab = Lab::open(test)?;
        let wire = Wire::to(&server.https[0]);
        add(&lab, &server, &format!("https://127.0.0.1:{}", wire.port));
        let at = format!("lab:{name}-{}", std::process::id());
        lab.boxherd(&["create", &at]).ok();
        Some(Self { lab, wire, at })
    }

    fn spawn(&self, script: &str) -> Child {
        let mut command = self.lab.command(&["exec", &self.at, "--", "sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("boxherd runs")
    }
}

/// Makes a server known whose certificate is asked for.
fn add(lab: &Lab, server: &LxdLab, url: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("password");
    fs::write(&password, &server.password).expect("a file");
    let password = password.to_str().expect("text");
    let ask = |fingerprint: &str| {
        let known = ["--password-file", password, "--fingerprint", fingerprint];
        let made = ["--image", "tiny", "--pool", "bt"];
        lab.boxherd(&[&["engine", "add", "lab", "--lxd", url], &known[..], &made].concat())
    };
    let wrong = ask(&"0".repeat(64));
    let found = wrong.err.split("has the certificate ").nth(1).expect("a fingerprint");
    ask(found.split(',').next().expect("a fingerprint")).ok();
}

#[test]
fn a_command_goes_on_when_its_connection_is_cut() {
    let test = "a_command_goes_on_when_its_connection_is_cut";
    let Some(far) = Far::open(test, "cut") else { return };
    // It says when it was begun, and goes on with every line that it is given.
    let mut child =
        far.spawn("echo begun; while read line; do echo $line; done; echo over; exit 7");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || output.next().expect("a line").expect("text");
    assert_eq!(next(), "begun");
    for number in 0..400 {
        writeln!(input, "{number}").expect("it reads");
        if number % 100 == 50 {
            assert!(far.wire.cut() >= 4, "there is an exec over it");
            // What is written now is written to nobody.
            writeln!(input, "after {number}").expect("it reads");
            assert_eq!(next(), number.to_string());
            assert_eq!(next(), format!("after {number}"));
        } else {
            assert_eq!(next(), number.to_string());
        }
    }
    assert!(far.wire.cut() >= 4);
    drop(input);
    assert_eq!(next(), "over");
    assert!(output.next().is_none(), "nothing is said twice");
    let said = Said::from(child.wait_with_output().expect("it ends"));
    assert_eq!((said.code, said.err.as_str()), (Some(7), ""));
}

#[test]
fn what_a_command_says_is_whole_however_often_it_is_cut() {
    let test = "what_a_command_says_is_whole_however_often_it_is_cut";
    let Some(far) = Far::open(test, "much") else { return };
    let script = "read go; i=0; while [ $i -lt 200000 ]; do echo $i; i=$((i + 1)); done";
    let mut child = far.spawn(&format!("echo begun; {script}"));
    let mut begun = [0; 6];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut begun).expect("it begins");
    drop(child.stdin.take());
    let cutting = thread::spawn({
        let ends = Arc::clone(&far.wire.ends);
        let wire = Wire { port: 0, ends };
        move || {
            for _ in 0..10 {
                thread::sleep(std::time::Duration::from_millis(150));
                wire.cut();
            }
        }
    });
    let said = Said::from(child.wait_with_output().expect("it ends"));
    cutting.join().expect("it cuts");
    let expected: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out == expected, "{} bytes of {}", said.out.len(), expected.len());
}

#[test]
fn a_command_that_is_gone_meanwhile_is_told_as_lost() {
    let test = "a_command_that_is_gone_meanwhile_is_told_as_lost";
    let Some(far) = Far::open(test, "gone") else { return };
    let mut child = far.spawn("echo begun; sleep 98765");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("it says");
    let kept = child.stdin.take();
    far.lab.boxherd(&["stop", "--grace", "0s", &far.at]).ok();
    let said = Said::from(child.wait_with_output().expect("it ends"));
    drop(kept);
    assert_eq!(said.code, Some(125), "{said:?}");
    assert!(said.err.contains("stopped while the command ran"), "{said:?}");
}

#[test]
fn a_command_goes_on_when_the_server_is_started_anew() {
    let test = "a_command_goes_on_when_the_server_is_started_anew";
    let Some(cluster) = boxherd_testkit::lxd_cluster_or_skip(test) else { return };
    let Some(lab) = Lab::open(test) else { return };
    let socket = format!("unix:{}", cluster.lab.socket.display());
    lab.boxherd(&["engine", "add", "lab", "--lxd", &socket, "--image", "tiny"]).ok();
    let at = format!("lab:anew-{}", std::process::id());
    lab.boxherd(&["create", &at]).ok();
    let script = "echo begun; while read line; do echo $line; done; exit 7";
    let mut child = lab.command(&["exec", &at, "--", "sh", "-c", script]);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("boxherd runs");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(output.next().expect("a line").expect("text"), "begun");
    cluster.kill("n1");
    writeln!(input, "while it was gone").expect("it reads");
    cluster.start("n1");
    assert_eq!(output.next().expect("a line").expect("text"), "while it was gone");
    drop(input);
    assert_eq!(child.wait().expect("it ends").code(), Some(7));
    lab.boxherd(&["rm", "--force", &at]).ok();
}
