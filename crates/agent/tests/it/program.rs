//! The agent as a program: descriptors, `cmd`, console, the end; and as process 1 of a namespace.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream as StdStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use boxherd_link::agent_config::{AgentConfig, Restart};
use boxherd_link::{ExecRequest, ExitStatus, Link, console_ring};
use prost::Message;
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::{shell, within};

/// A running program and where to reach it. Killed and reaped when it is dropped.
struct Program {
    child: Child,
    dir: TempDir,
    console: File,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Passes descriptors 3, 4 and 5 by way of a shell, which can put them where they belong.
fn start(config: &AgentConfig, wrapper: &str) -> Program {
    start_with(config, wrapper, "")
}

/// The same with further redirections.
fn start_with(config: &AgentConfig, wrapper: &str, given: &str) -> Program {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("link")).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&config.encode_length_delimited_to_vec()).unwrap();
    file.rewind().unwrap();
    let console = tempfile::tempfile().unwrap();
    let script = format!(
        "exec 3<&0 4<&1 5<>/proc/self/fd/2 {given} 0</dev/null 1>/dev/null 2>&1; exec {wrapper} {}",
        env!("CARGO_BIN_EXE_boxherd-agent")
    );
    let child = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::from(file))
        .stderr(Stdio::from(console.as_fd().try_clone_to_owned().unwrap()))
        .spawn()
        .unwrap();
    Program { child, dir, console }
}

impl Program {
    async fn link(&self) -> Link {
        let stream = StdStream::connect(self.dir.path().join("link")).unwrap();
        stream.set_nonblocking(true).unwrap();
        within(Link::open(UnixStream::from_std(stream).unwrap())).await.unwrap()
    }

    async fn wait(&mut self) -> std::process::ExitStatus {
        within(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    fn console(&self) -> String {
        let chunk =
            console_ring::read(|at, buffer| self.console.read_at(buffer, at), 0, 1 << 20).unwrap();
        String::from_utf8_lossy(&chunk.data).into_owned()
    }
}

fn cmd(line: &str) -> AgentConfig {
    let cmd = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    AgentConfig { cmd, console_size: 65536, ..AgentConfig::default() }
}

#[tokio::test]
async fn it_serves_links_until_it_is_stopped() {
    let mut program = start(&AgentConfig::default(), "");
    let link = program.link().await;
    assert_eq!(shell(&link, "echo hello").await.stdout, "hello\n");
    assert_eq!(link.stats().await.unwrap().cmd, None);
    within(link.stop(Duration::from_secs(5))).await.unwrap();
    assert_eq!(program.wait().await.code(), Some(0));
}

#[tokio::test]
async fn commands_inherit_none_of_its_descriptors() {
    let program = start(&cmd("exec sleep 4350"), "");
    let link = program.link().await;
    let listed = shell(&link, "for fd in /proc/self/fd/*; do echo ${fd##*/}; done").await;
    let mut fds: Vec<i32> =
        String::from_utf8_lossy(&listed.stdout).lines().map(|l| l.parse().unwrap()).collect();
    fds.sort_unstable();
    // The last one is the directory that the shell is reading.
    assert!(fds.len() <= 4 && fds.starts_with(&[0, 1, 2]), "{fds:?}");
}

#[tokio::test]
async fn cmd_writes_to_the_console_and_ends_the_agent() {
    let mut program = start(&cmd("echo one; echo two >&2; exit 23"), "");
    assert_eq!(program.wait().await.code(), Some(23));
    let console = program.console();
    assert!(console.contains("one\n") && console.contains("two\n"), "{console:?}");
}

#[tokio::test]
async fn cmd_that_does_not_exist_says_so_on_the_console() {
    let config = AgentConfig { cmd: vec!["/no/such".to_owned()], ..AgentConfig::default() };
    let mut program = start(&config, "");
    assert_eq!(program.wait().await.code(), Some(127));
    assert!(program.console().contains("/no/such"), "{}", program.console());
}

#[tokio::test]
async fn cmd_starts_again_under_its_policy_and_is_counted() {
    let restart = Some(Restart { always: false, on_failure: 2 });
    let mut program = start(&AgentConfig { restart, ..cmd("echo run; exit 3") }, "");
    let link = program.link().await;
    let mut last = None;
    // The agent ends with the last failure; until then every answer counts further.
    while let Ok(stats) = link.stats().await {
        last = stats.cmd;
    }
    assert_eq!(program.wait().await.code(), Some(3));
    let last = last.unwrap();
    assert!(last.restarts >= 1 && last.last_exit == Some(ExitStatus::Code(3)), "{last:?}");
    assert_eq!(program.console().matches("run\n").count(), 3, "{}", program.console());
}

#[tokio::test]
async fn a_term_signal_stops_it_in_good_order() {
    let mut program = start(&AgentConfig::default(), "");
    let link = program.link().await;
    drop(link);
    let pid = rustix::process::Pid::from_child(&program.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(program.wait().await.code(), Some(0));
}

#[tokio::test]
async fn without_its_descriptors_it_refuses_to_start() {
    let status = Command::new(env!("CARGO_BIN_EXE_boxherd-agent"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!((status.code(), status.signal()), (Some(125), None));
}

/// Starts it as process 1 of a process namespace of its own; `None` without the right to.
fn start_as_process_one(config: &AgentConfig) -> Option<Program> {
    as_process_one(|wrapper| start(config, wrapper))
}

fn as_process_one(start: impl FnOnce(&str) -> Program) -> Option<Program> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make namespaces everywhere");
        return None;
    }
    let wrapper = "unshare --pid --uts --ipc --mount-proc --fork --kill-child --";
    Some(start(wrapper))
}

#[tokio::test]
async fn as_process_one_it_reaps_orphans_and_keeps_exit_codes() {
    let Some(program) = start_as_process_one(&AgentConfig::default()) else { return };
    let link = program.link().await;
    for code in 0..20 {
        let ran = shell(&link, &format!("(sleep 0.01 &) ; exit {code}")).await;
        assert_eq!(ran.status, ExitStatus::Code(code));
    }
    within(async {
        while shell(&link, "ps -e -o stat= | grep -c Z").await.stdout != "0\n" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn as_process_one_it_sets_the_host_name() {
    let config = AgentConfig { hostname: "a-box".to_owned(), ..AgentConfig::default() };
    let Some(program) = start_as_process_one(&config) else { return };
    assert_eq!(shell(&program.link().await, "hostname").await.stdout, "a-box\n");
}

/// What the kernel tells of a box's memory, played by a pipe and a file.
struct Kernel {
    dir: TempDir,
}

impl Kernel {
    fn new() -> Self {
        let this = Self { dir: tempfile::tempdir().unwrap() };
        rustix::fs::mkfifoat(rustix::fs::CWD, this.path("bell"), 0o600.into()).unwrap();
        File::create(this.path("kills")).unwrap();
        this.kills(0);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn rings(&self) {
        File::options().write(true).open(self.path("bell")).unwrap().write_all(&[1; 8]).unwrap();
    }

    /// Has killed `count` processes, of which there is one digit, so that no reader sees half of it.
    fn kills(&self, count: u8) {
        let text = format!("oom_kill_disable 0\nunder_oom 0\noom_kill {count}\n");
        let file = File::options().write(true).open(self.path("kills")).unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
    }

    /// Starts the agent as process 1 with its memory watched.
    fn start(&self) -> Option<Program> {
        let (bell, kills) = (self.path("bell"), self.path("kills"));
        let given = format!("7<>{} 8<{}", bell.display(), kills.display());
        as_process_one(|wrapper| start_with(&AgentConfig::default(), wrapper, &given))
    }
}

#[tokio::test]
async fn it_ends_when_a_process_was_killed_for_memory_and_not_when_the_bell_rings() {
    let kernel = Kernel::new();
    let Some(mut program) = kernel.start() else { return };
    let link = program.link().await;
    kernel.rings();
    assert_eq!(shell(&link, "sleep 0.05; echo fine").await.stdout, "fine\n");
    // Rings before it kills; what was reaped in between does not make the agent deaf.
    kernel.kills(1);
    assert_eq!(program.wait().await.code(), Some(137));
}

#[tokio::test]
async fn nobody_is_told_how_one_process_of_a_box_without_memory_ended() {
    let kernel = Kernel::new();
    let Some(mut program) = kernel.start() else { return };
    let link = program.link().await;
    let mut request = ExecRequest::shell("read line; kill -KILL $$");
    request.stdin = true;
    let exec = within(link.exec(request)).await.unwrap();
    // As the kernel does, which counts before it kills. Its bell is not heard yet.
    kernel.kills(1);
    let ended = within(exec.collect("go\n".into(), 1 << 20)).await;
    assert!(ended.is_err(), "{ended:?}");
    assert_eq!(program.wait().await.code(), Some(137));
}

#[tokio::test]
async fn as_process_one_it_ends_what_no_command_started() {
    let Some(mut program) = start_as_process_one(&AgentConfig::default()) else { return };
    let link = program.link().await;
    let ran = shell(&link, "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo").await;
    assert!(ran.status.success());
    within(link.stop(Duration::from_millis(300))).await.unwrap();
    // `unshare` passes on how process 1 ended.
    assert_eq!(program.wait().await.code(), Some(0));
}
