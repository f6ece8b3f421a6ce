//! Connections to a server that are cut while something runs over them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use boxherd_testkit::LxdLab;

use crate::commands::fed;
use crate::lab::{Lab, Said};
use crate::wait;

/// A way to a server that can be cut.
#[derive(Clone)]
struct Wire {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    ends: Vec<TcpStream>,
    /// How many pieces still pass before it is cut.
    left: Option<usize>,
}

impl Wire {
    /// Listens for as long as the test runs.
    fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let wire = Self { port, state: Arc::default() };
        let (accepting, server) = (wire.clone(), server.to_owned());
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&server) else { continue };
                let ends = [again(&near), again(&far)];
                accepting.state.lock().expect("no panics").ends.extend(ends);
                accepting.carry(&near, &far);
                accepting.carry(&far, &near);
            }
        });
        wire
    }

    /// Cuts every connection, as a network does that is gone for a moment. Answers how many.
    fn cut(&self) -> usize {
        let ends = std::mem::take(&mut self.state.lock().expect("no panics").ends);
        // One that was closed already is cut.
        ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        ends.len() / 2
    }

    fn cut_after(&self, pieces: usize) {
        self.state.lock().expect("no panics").left = Some(pieces);
    }

    /// Whether it was not cut since, and will not be.
    fn held(&self) -> bool {
        self.state.lock().expect("no panics").left.take().is_some()
    }

    /// Whether a piece passes.
    fn passes(&self) -> bool {
        let mut state = self.state.lock().expect("no panics");
        match &mut state.left {
            None => return true,
            Some(0) => state.left = None,
            Some(left) => {
                *left -= 1;
                return true;
            }
        }
        drop(state);
        self.cut();
        false
    }

    fn carry(&self, from: &TcpStream, to: &TcpStream) {
        let (mut from, mut to, wire) = (again(from), again(to), self.clone());
        thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from.read(&mut piece) {
                if !wire.passes() || to.write_all(&piece[..count]).is_err() {
                    return;
                }
            }
            // Cut or closed: either end is the other's.
            drop(to.shutdown(Shutdown::Write));
        });
    }
}

fn again(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}

/// A box on a server behind a wire.
struct Far {
    lab: Lab,
    server: LxdLab,
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
        Some(Self { lab, server, wire, at })
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
    let wire = far.wire.clone();
    let cutting = thread::spawn(move || {
        // Now and then, as it comes; what counts is that some are met.
        let pause = || thread::sleep(Duration::from_millis(150));
        (0..10).map(|_| (pause(), wire.cut()).1).sum::<usize>()
    });
    let said = Said::from(child.wait_with_output().expect("it ends"));
    assert!(cutting.join().expect("it cuts") > 0, "there was nothing to cut");
    let expected: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out == expected, "{} bytes of {}", said.out.len(), expected.len());
}

/// Longer than any connection is waited for.
const LONGEST: Duration = Duration::from_secs(60);

#[test]
fn wherever_it_is_cut_a_command_and_a_file_are_whole_or_refused() {
    let test = "wherever_it_is_cut_a_command_and_a_file_are_whole_or_refused";
    let Some(far) = Far::open(test, "steps") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    let content: String = (0..150_000).map(|number| format!("{number}\n")).collect();
    fs::write(&file, &content).expect("a file");
    let input = &content[..100_000];
    let there = format!("{}:/root/file", far.at);
    let echo: &[&str] = &["exec", &far.at, "--", "sh", "-c", "cat; echo over"];
    let put: &[&str] = &["cp", file.to_str().expect("text"), &there];
    for what in [echo, put] {
        let mut refused = 0;
        // Steps of connecting are few and each is tried; those of a transfer are all alike.
        let longer = std::iter::successors(Some(24), |pieces| Some(pieces * 4 / 3));
        for pieces in (0..24).chain(longer) {
            far.wire.cut_after(pieces);
            let since = Instant::now();
            let said = fed(&far.lab, what, input.as_bytes());
            assert!(since.elapsed() < LONGEST, "cut after {pieces}: {said:?}");
            match said.code {
                Some(0) if what == echo => assert!(said.out == format!("{input}over\n")),
                Some(0) => {}
                Some(125 | 1) if !said.err.is_empty() => refused += 1,
                _ => panic!("cut after {pieces}: {:?} {}", said.code, said.err),
            }
            if far.wire.held() {
                break;
            }
        }
        assert!(refused > 0, "nothing was cut");
    }
    let listed = far.lab.boxherd(&["exec", &far.at, "--", "sh", "-c", "cd /root; ls; wc -c file"]);
    assert_eq!(listed.ok(), format!("file\n{} file\n", content.len()), "nothing else is left");
    // The server waits some seconds for connections that do not come, and says what has ended for some more.
    wait::until("the server has ended what it ran", || {
        let running = far.server.run(None, &["operation", "list", "-f", "csv"]);
        (!running.contains("command,RUNNING")).then_some(())
    });
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
    assert!(said.err.contains("stopped while it was used"), "{said:?}");
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
