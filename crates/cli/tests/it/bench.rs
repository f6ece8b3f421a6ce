//! Measurements: of servers, and such as are broken off.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use boxherd_testkit::LxdLab;
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::Lab;
use crate::wait;

#[test]
fn a_bench_that_is_interrupted_removes_its_boxes() {
    let Some(lab) = Lab::open("a_bench_that_is_interrupted") else { return };
    lab.create("mine", &[]);
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = lab.command(&["bench", "create", "--rounds", "100000", "--no-peers"]);
        let bench = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        wait::until("it makes boxes", || {
            lab.boxherd(&["ls", "-q"]).ok().contains("bench-").then_some(())
        });
        kill_process(Pid::from_child(&bench), signal).expect("it runs");
        let said = bench.wait_with_output().expect("it ends");
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!(err, "error: interrupted while it measured\n");
        assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "mine\n");
        assert!(!lab.data().join("bench").exists());
    }
}

/// The lab's server by its socket and by TLS.
fn engines(lab: &Lab, server: &LxdLab) -> tempfile::TempDir {
    let socket = format!("unix:{}", server.socket.display());
    lab.boxherd(&["engine", "add", "here", "--lxd", &socket, "--image", "tiny", "--pool", "bt"])
        .ok();
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    let name = format!("bench-{}", std::process::id());
    let said = server.run(None, &["config", "trust", "add", "--name", &name, "-q"]);
    std::fs::write(&token, said.lines().next_back().expect("a token")).expect("a file");
    let url = format!("https://{}", server.https[0]);
    let token = token.to_str().expect("UTF-8");
    let add = ["engine", "add", "there", "--lxd", &url, "--token-file", token];
    lab.boxherd(&[&add[..], &["--image", "tiny", "--pool", "bt"]].concat()).ok();
    folder
}

#[test]
fn a_bench_of_servers_measures_every_way_and_leaves_nothing() {
    let test = "a_bench_of_servers_measures_every_way";
    let Some(server) = boxherd_testkit::lxd_lab_or_skip(test) else { return };
    let Some(lab) = Lab::open(test) else { return };
    let _folder = engines(&lab, &server);
    let ask = ["bench", "lxd", "--rounds", "1", "--file-size", "1MB", "--round-trip", "5ms"];
    let said = lab.boxherd(&[&ask[..], &["-o", "json"]].concat()).ok();
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let contests = report["contests"].as_array().expect("contests");
    let found: Vec<_> = contests.iter().filter_map(|contest| contest["name"].as_str()).collect();
    let measures = ["exec", "put-1k", "get-1k", "rate", "rush", "put", "get", "connect", "first"];
    let expected: Vec<_> = ["unix", "0ms", "5ms"]
        .iter()
        .flat_map(|way| measures.map(|measure| format!("{measure}-{way}")))
        .collect();
    assert_eq!(found, expected);
    let lxc = contests[0]["figures"].as_array().expect("figures").iter();
    assert!(
        lxc.clone().any(|figure| figure["contender"] == "lxc exec, whole program"),
        "{}",
        contests[0]
    );
    let skipped = report["skipped"].as_array().expect("a list");
    assert!(skipped.iter().any(|why| why.as_str().is_some_and(|why| why.contains("pyinfra"))));
    // Of a way that is 5 ms long nothing is done in less.
    let far = &contests[measures.len() * 2]["figures"][0]["summary"];
    assert!(far["min"].as_f64().is_some_and(|least| least >= 5.0), "{far}");
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
    assert!(!lab.data().join("bench").exists());
}

#[test]
fn a_bench_of_a_server_that_is_interrupted_leaves_nothing() {
    let test = "a_bench_of_a_server_that_is_interrupted";
    let Some(server) = boxherd_testkit::lxd_lab_or_skip(test) else { return };
    let Some(lab) = Lab::open(test) else { return };
    let _folder = engines(&lab, &server);
    let args = ["bench", "lxd", "--engine", "there", "--rounds", "100000"];
    let mut command = lab.command(&args);
    let bench = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    wait::until("it has a box that runs", || {
        lab.boxherd(&["ls"]).ok().contains("running").then_some(())
    });
    kill_process(Pid::from_child(&bench), Signal::TERM).expect("it runs");
    let said = bench.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&said.stderr);
    assert_eq!((said.status.code(), &*err), (Some(1), "error: interrupted while it measured\n"));
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
    assert!(!lab.data().join("bench").exists());
}

#[test]
fn a_server_is_made_to_be_far_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    let mut delay = Command::new(env!("CARGO_BIN_EXE_boxherd"))
        .args(["bench", "delay", &target, "--round-trip", "60ms"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("boxherd runs");
    let mut said = String::new();
    BufReader::new(delay.stdout.take().expect("a pipe")).read_line(&mut said).expect("a line");
    let place = said.trim().strip_prefix("listening on ").expect(&said);
    let mut near = TcpStream::connect(place).expect("it listens");
    let (mut far, _) = listener.accept().expect("it leads there");
    let start = Instant::now();
    near.write_all(b"there").expect("it is sent");
    let mut piece = [0; 5];
    far.read_exact(&mut piece).expect("it arrives");
    far.write_all(&piece).expect("it is sent");
    near.read_exact(&mut piece).expect("it comes back");
    assert_eq!(&piece, b"there");
    assert!(start.elapsed() >= Duration::from_millis(60), "{:?}", start.elapsed());
    drop(delay.stdin.take());
    assert!(delay.wait().expect("it ends").success());
}
