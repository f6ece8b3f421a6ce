//! The agent of a machine with an init of its own: relays, and the program behind them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use boxherd_link::agent_config::{AgentConfig, RELAY, has_reached};
use boxherd_link::proto::Env;
use boxherd_link::{ExecRequest, Link};
use bytes::Bytes;
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{PATIENCE, shell};

/// A folder with an agent in it, which is gone with this.
struct Guest(tempfile::TempDir);

impl Guest {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn place(&self) -> PathBuf {
        self.0.path().join("agent")
    }

    fn relay(&self, ttl: u64) -> (Child, Pipes) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_boxherd-agent"))
            .arg(RELAY)
            .arg(self.place())
            .arg(ttl.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pipes = Pipes(child.stdin.take().unwrap(), child.stdout.take().unwrap());
        (child, pipes)
    }

    async fn link(&self, ttl: u64) -> (Child, Link) {
        let (child, pipes) = self.relay(ttl);
        (child, Link::open(pipes).await.unwrap())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The agent itself, by whom it runs as: the folder is its argument.
        for pid in agents_in(&self.place()) {
            // It may have gone by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn agents_in(place: &Path) -> Vec<Pid> {
    let place = place.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok());
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.nth(1) == Some(b"guest") && words.next() == Some(place.as_bytes())
    };
    pids.filter(is_ours).filter_map(Pid::from_raw).collect()
}

/// Standard input and output of a relay.
struct Pipes(ChildStdin, ChildStdout);

impl AsyncRead for Pipes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.1).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn until(what: &str, look: impl Fn() -> bool) {
    let looking = async {
        while !look() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect(what);
}

#[tokio::test]
async fn an_agent_outlives_its_relays_and_serves_them_all() {
    let guest = Guest::new();
    let (first, link) = guest.link(600).await;
    let (_second, other) = guest.link(600).await;
    assert_eq!(shell(&other, "echo hello").await.stdout, "hello\n");
    assert_eq!(agents_in(&guest.place()).len(), 1, "two relays, one agent");
    drop((first, link));
    let (_third, third) = guest.link(600).await;
    assert_eq!(shell(&third, "echo again").await.stdout, "again\n");
    assert_eq!(agents_in(&guest.place()).len(), 1);
    let mode = fs::metadata(guest.place()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "nobody else speaks with it");
}

#[tokio::test]
async fn relays_that_come_at_once_start_one_agent() {
    let guest = Guest::new();
    let links = (0..8).map(|_| guest.link(600));
    let links = futures_util::future::join_all(links).await;
    assert_eq!(agents_in(&guest.place()).len(), 1);
    for (_, link) in &links {
        assert_eq!(shell(link, "echo hello").await.stdout, "hello\n");
    }
}

#[tokio::test]
async fn an_agent_that_nobody_needs_goes_and_takes_its_socket_along() {
    let guest = Guest::new();
    let (child, link) = guest.link(1).await;
    // Longer than it would stay alone: a link is a need, and so is a command.
    assert!(shell(&link, "sleep 1.5").await.status.success());
    assert_eq!(agents_in(&guest.place()).len(), 1);
    drop((child, link));
    until("it goes", || agents_in(&guest.place()).is_empty()).await;
    assert!(!guest.place().join("socket").exists());
    // And comes again when it is asked for.
    let (_child, link) = guest.link(600).await;
    assert_eq!(shell(&link, "echo back").await.stdout, "back\n");
}

#[tokio::test]
async fn a_relay_ends_with_its_host_and_with_its_agent() {
    let guest = Guest::new();
    let (mut child, link) = guest.link(600).await;
    drop(link);
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
    assert!(ended.success(), "{ended}");

    let (mut child, link) = guest.link(600).await;
    let [agent] = agents_in(&guest.place())[..] else { panic!("one agent") };
    kill_process(agent, Signal::KILL).unwrap();
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
    assert!(ended.code().is_some_and(has_reached), "the agent may have heard the host: {ended}");
    link.closed().await;
    until("it is gone", || test_kill_process(agent).is_err()).await;
    // The socket is there, and nobody at it.
    let (_child, link) = guest.link(600).await;
    assert_eq!(shell(&link, "echo anew").await.stdout, "anew\n");
}

#[tokio::test]
async fn commands_get_what_the_host_has_left_for_them() {
    let guest = Guest::new();
    fs::create_dir(guest.place()).unwrap();
    fs::set_permissions(guest.place(), fs::Permissions::from_mode(0o700)).unwrap();
    let config = AgentConfig {
        env: vec![Env { name: b"GREETING".to_vec(), value: b"good day".to_vec() }],
        workdir: Some("/etc".to_owned()),
        ..AgentConfig::default()
    };
    fs::write(guest.place().join("config"), config.encode_length_delimited_to_vec()).unwrap();
    let (_child, link) = guest.link(600).await;
    assert_eq!(shell(&link, "echo $GREETING in $(pwd)").await.stdout, "good day in /etc\n");
}

#[tokio::test]
async fn a_folder_that_others_may_write_to_is_refused() {
    let guest = Guest::new();
    fs::create_dir(guest.place()).unwrap();
    fs::set_permissions(guest.place(), fs::Permissions::from_mode(0o777)).unwrap();
    let (child, pipes) = guest.relay(600);
    drop(pipes);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let code = output.status.code().expect("it ends by itself");
    assert!(!has_reached(code), "nobody has heard the host: {code}");
    assert!(agents_in(&guest.place()).is_empty());
}

#[tokio::test]
async fn a_command_goes_on_without_a_relay() {
    let guest = Guest::new();
    let (child, link) = guest.link(600).await;
    let mark = guest.0.path().join("mark");
    let line = format!("sleep 0.5; echo done > {}", mark.display());
    let request = ExecRequest { detach_ttl: PATIENCE, ..ExecRequest::shell(line) };
    let exec = link.exec(request).await.unwrap();
    // Lost, and not ended.
    drop(child);
    drop(exec.collect(Bytes::new(), 1000).await);
    until("the command has ended", || mark.exists()).await;
}
