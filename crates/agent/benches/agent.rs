//! What a user waits for: a command over an open link, and a gigabyte in and out, with the real
//! program at the other end. Results are in `docs/design/0002-link.md`. Run by hand:
//!
//! ```sh
//! cargo bench -p boxherd-agent
//! ```
//!
//! `BOXHERD_AGENT=PATH` measures another build of the program, such as the static one.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use boxherd_link::agent_config::AgentConfig;
use boxherd_link::{ExecRequest, Link, ReadRange, WriteOptions};
use bytes::Bytes;
use prost::Message;
use tokio::net::UnixStream;

const EXECS: usize = 1000;
const GIGABYTE: usize = 1_000_000_000;
const CHUNK: usize = 256 * 1024;

fn main() {
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("link");
    let listener = UnixListener::bind(&path).unwrap();
    let mut child = start(listener);
    let link = Link::open(UnixStream::connect(&path).await.unwrap()).await.unwrap();
    memory("fresh", child.id());
    execs(&link).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    memory("idle after execs", child.id());
    let file = dir.path().join("gigabyte");
    for round in 1..=3 {
        let begun = Instant::now();
        write(&link, &file).await;
        rate(round, "in", begun);
        memory("after in", child.id());
        let begun = Instant::now();
        read(&link, &file).await;
        rate(round, "out", begun);
        memory("after out", child.id());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    memory("idle after files", child.id());
    link.stop(Duration::from_secs(1)).await.unwrap();
    child.wait().unwrap();
}

async fn execs(link: &Link) {
    let mut times = Vec::new();
    for _ in 0..EXECS {
        let begun = Instant::now();
        let exec = link.exec(ExecRequest::argv(["/bin/true"])).await.unwrap();
        assert!(exec.collect(Bytes::new(), 0).await.unwrap().status.success());
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    println!("exec p50 {:.0?} p90 {:.0?} p99 {:.0?} (n {EXECS})", at(0.5), at(0.9), at(0.99));
    let mut floor = Vec::new();
    for _ in 0..EXECS {
        let begun = Instant::now();
        Command::new("/bin/true").status().unwrap();
        floor.push(begun.elapsed());
    }
    floor.sort_unstable();
    println!("floor: spawn and wait p50 {:.0?} (n {EXECS})", floor[EXECS / 2]);
}

async fn write(link: &Link, path: &std::path::Path) {
    let mut writer = link.files().write(path, WriteOptions::default()).unwrap();
    let chunk = Bytes::from(vec![7; CHUNK]);
    let mut left = GIGABYTE;
    while left > 0 {
        let part = chunk.slice(..left.min(CHUNK));
        left -= part.len();
        writer.send(part).await.unwrap();
    }
    writer.finish().await.unwrap();
}

async fn read(link: &Link, path: &std::path::Path) {
    let mut reader = link.files().read(path, ReadRange::default()).unwrap();
    let mut total = 0;
    while let Some(piece) = reader.next().await.unwrap() {
        total += piece.len();
    }
    assert_eq!(total, GIGABYTE);
}

fn rate(round: u32, what: &str, begun: Instant) {
    let rate = GIGABYTE as f64 / begun.elapsed().as_secs_f64() / 1e9;
    println!("round {round} 1 GB {what:3} {rate:.2} GB/s");
}

/// Private memory of the agent and the most it ever had, with our own beside it.
fn memory(when: &str, pid: u32) {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = |text: &str, name: &str| -> u64 {
        let line = text.lines().filter_map(|l| l.strip_prefix(name));
        line.filter_map(|l| l.split_whitespace().next()?.parse::<u64>().ok()).sum()
    };
    // The text of the program is shared by all boxes; what a box costs is what is dirty.
    let private = kib(&rollup, "Private_Dirty:");
    let peak = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        kib(&status, "VmHWM:")
    };
    let (theirs, ours) = (peak(&pid.to_string()), peak("self"));
    println!("  {when}: agent private {private} KiB, peak {theirs} KiB; host peak {ours} KiB");
}

fn start(listener: UnixListener) -> std::process::Child {
    let mut config: File = tempfile::tempfile().unwrap();
    config.write_all(&AgentConfig::default().encode_length_delimited_to_vec()).unwrap();
    config.rewind().unwrap();
    let built = env!("CARGO_BIN_EXE_boxherd-agent").to_owned();
    let program = std::env::var("BOXHERD_AGENT").unwrap_or(built);
    let script = format!("exec 3<&0 4<&1 0</dev/null 1>&2; exec {program}");
    Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::from(config.as_fd().try_clone_to_owned().unwrap()))
        .spawn()
        .unwrap()
}
