//! What becomes of a command when its client goes: lost, cancelled, dropped, left.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use boxherd_link::{ExecEvent, ExecRequest, ExitStatus, Link, LinkError, Offsets, Relink};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::{agent, collect, link, link_to, shell, within};

/// Waits until a process has ended.
pub(crate) async fn gone(pid: i32) {
    while is_alive(pid) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A zombie has ended too: whoever should reap it is no matter of the agent's.
fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

/// A command that says the id of a child of its and then waits for ever.
async fn sleeper(link: &Link) -> (boxherd_link::Exec, i32) {
    let mut exec = link.exec(ExecRequest::shell("sleep 4345 & echo $!; wait")).await.unwrap();
    let ExecEvent::Stdout(pid) = within(exec.next()).await.unwrap() else { panic!() };
    (exec, String::from_utf8_lossy(&pid).trim().parse().unwrap())
}

/// A link whose stream a test can break.
pub(crate) async fn breakable(agent: &boxherd_agent::Agent) -> (Link, tokio::task::JoinHandle<()>) {
    let (host, near) = UnixStream::pair().unwrap();
    let (mut near, (mut far, guest)) = (near, UnixStream::pair().unwrap());
    let relay = tokio::spawn(async move {
        // It ends when either side does, or when the test aborts it.
        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
    });
    let agent = agent.clone();
    tokio::spawn(async move { agent.serve(guest).await });
    (Link::open(host).await.unwrap(), relay)
}

#[tokio::test]
async fn a_cancelled_command_dies_with_its_group() {
    let (exec, child) = sleeper(&link().await).await;
    exec.control().cancel();
    let ran = within(exec.collect(Bytes::new(), 10)).await.unwrap();
    assert_eq!(ran.status, ExitStatus::Signal(9));
    within(gone(child)).await;
}

#[tokio::test]
async fn a_dropped_command_dies_with_its_group() {
    let link = link().await;
    let (exec, child) = sleeper(&link).await;
    drop(exec);
    within(gone(child)).await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_commands_with_it() {
    let agent = agent();
    let link = link_to(&agent).await;
    let (exec, child) = sleeper(&link).await;
    let id = exec.id();
    link.close().await;
    within(gone(child)).await;
    let unknown = link_to(&agent).await.reattach(id, Offsets::default()).await;
    assert!(matches!(unknown, Err(LinkError::UnknownExec { .. })), "{unknown:?}");
}

#[tokio::test]
async fn dropping_every_handle_is_leaving() {
    let agent = agent();
    let link = link_to(&agent).await;
    let (exec, child) = sleeper(&link).await;
    drop(link);
    assert!(is_alive(child), "the command still has a handle");
    drop(exec);
    within(gone(child)).await;
}

#[tokio::test]
async fn a_lost_link_loses_and_repeats_nothing() {
    let agent = agent();
    let (link, relay) = breakable(&agent).await;
    let request = ExecRequest::shell("seq 1 200000; echo end >&2; exit 6");
    let mut exec = link.exec(request).await.unwrap();
    let mut stdout = Vec::new();
    while stdout.len() < 300_000 {
        let ExecEvent::Stdout(bytes) = within(exec.next()).await.unwrap() else { panic!() };
        stdout.extend_from_slice(&bytes);
    }
    relay.abort();
    // What had arrived is still delivered, then the loss is told.
    let lost = loop {
        match within(exec.next()).await {
            Ok(ExecEvent::Stdout(bytes)) => stdout.extend_from_slice(&bytes),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(lost, LinkError::Lost { .. }), "{lost}");
    let again = link_to(&agent).await.reattach(exec.id(), exec.offsets()).await.unwrap();
    let rest = within(again.collect(Bytes::new(), usize::MAX)).await.unwrap();
    stdout.extend_from_slice(&rest.stdout);
    let expected: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(stdout == expected.as_bytes(), "{} of {} bytes", stdout.len(), expected.len());
    assert_eq!((&rest.stderr[..], rest.status), (&b"end\n"[..], ExitStatus::Code(6)));
}

#[tokio::test]
async fn input_goes_on_after_a_lost_link() {
    let agent = agent();
    let (link, relay) = breakable(&agent).await;
    let mut request = ExecRequest::shell("md5sum");
    request.stdin = true;
    let mut exec = link.exec(request).await.unwrap();
    let mut input = exec.stdin().unwrap();
    let content: Bytes = (0..3_000_000u32).map(|i| (i >> 3) as u8).collect::<Vec<_>>().into();
    input.send(content.slice(..2_000_000)).await.unwrap();
    relay.abort();
    within(link.closed()).await;
    let sent = input.into_unacknowledged();
    let mut exec = link_to(&agent).await.reattach(exec.id(), exec.offsets()).await.unwrap();
    let mut input = exec.stdin().unwrap();
    input.send(sent.after(exec.stdin_offset()).unwrap()).await.unwrap();
    input.send(content.slice(2_000_000..)).await.unwrap();
    input.shutdown().await.unwrap();
    let ran = within(exec.collect(Bytes::new(), 100)).await.unwrap();
    let mut request = ExecRequest::argv(["md5sum"]);
    request.stdin = true;
    let whole = link_to(&agent).await.exec(request).await.unwrap();
    let expected = within(whole.collect(content, 100)).await.unwrap();
    assert_eq!(ran.stdout, expected.stdout);
}

/// Links to one agent, each of which a test can break.
struct Links {
    agent: boxherd_agent::Agent,
    relay: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Links {
    async fn open(&self) -> Link {
        let (link, relay) = breakable(&self.agent).await;
        *self.relay.lock().unwrap() = Some(relay);
        link
    }

    fn cut(&self) {
        self.relay.lock().unwrap().take().unwrap().abort();
    }
}

impl Relink for Links {
    fn relink(
        &self,
        _: Instant,
        _: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Link, LinkError>> + Send + '_>> {
        Box::pin(async { Ok(self.open().await) })
    }
}

/// Nobody makes a link anew.
struct NoLink;

impl Relink for NoLink {
    fn relink(
        &self,
        _: Instant,
        _: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Link, LinkError>> + Send + '_>> {
        Box::pin(async { Err(LinkError::Closed) })
    }
}

#[tokio::test]
async fn a_healed_command_goes_on_with_its_input() {
    let links = Arc::new(Links { agent: agent(), relay: Mutex::default() });
    let mut request = ExecRequest::shell("while read line; do echo $line; done; echo over");
    request.stdin = true;
    let exec = links.open().await.exec(request).await.unwrap();
    let mut exec = exec.healed_by(links.clone());
    let mut input = exec.stdin().unwrap();
    for number in 0..50 {
        links.cut();
        // Nobody hears it now.
        let line = format!("{number}\n");
        input.send(line.clone().into()).await.unwrap();
        assert_eq!(within(exec.next()).await.unwrap(), ExecEvent::Stdout(line.into()));
    }
    links.cut();
    input.shutdown().await.unwrap();
    drop(input);
    let ran = within(exec.collect(Bytes::new(), 100)).await.unwrap();
    assert_eq!((&ran.stdout[..], ran.status), (&b"over\n"[..], ExitStatus::Code(0)));
}

#[tokio::test]
async fn a_healed_command_hears_what_was_said_meanwhile() {
    let links = Arc::new(Links { agent: agent(), relay: Mutex::default() });
    let line = "trap 'exit 3' USR1; echo begun; while :; do sleep 0.05; done";
    let link = links.open().await;
    let mut exec = link.exec(ExecRequest::shell(line)).await.unwrap().healed_by(links.clone());
    assert_eq!(within(exec.next()).await.unwrap(), ExecEvent::Stdout("begun\n".into()));
    links.cut();
    within(link.closed()).await;
    exec.control().signal(10);
    let ran = within(exec.collect(Bytes::new(), 100)).await.unwrap();
    assert_eq!(ran.status, ExitStatus::Code(3));
}

#[tokio::test]
async fn what_cannot_be_healed_is_lost_and_its_input_ends() {
    let (link, relay) = breakable(&agent()).await;
    let mut request = ExecRequest::shell("cat");
    request.stdin = true;
    let mut exec = link.exec(request).await.unwrap().healed_by(Arc::new(NoLink));
    let mut input = exec.stdin().unwrap();
    relay.abort();
    within(link.closed()).await;
    let waiting = tokio::spawn(async move { input.send("more".into()).await });
    assert!(matches!(within(exec.next()).await, Err(LinkError::Lost { .. })));
    assert!(matches!(within(waiting).await.unwrap(), Err(LinkError::Lost { .. })));
}

#[tokio::test]
async fn an_exit_that_was_not_heard_is_kept() {
    let agent = agent();
    let (link, relay) = breakable(&agent).await;
    let mut exec = link.exec(ExecRequest::shell("read x; exit 9")).await.unwrap();
    let id = exec.id();
    assert_eq!(within(exec.next()).await.unwrap(), ExecEvent::Exit(ExitStatus::Code(9)));
    // The exit was heard this time: it is forgotten.
    let later = link_to(&agent).await;
    within(async {
        while later.reattach(id, Offsets::default()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let exec = link.exec(ExecRequest::shell("echo x; exit 8")).await.unwrap();
    within(async {
        while later.stats().await.unwrap().execs > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    relay.abort();
    within(link.closed()).await;
    let again = later.reattach(exec.id(), Offsets::default()).await.unwrap();
    let ran = within(again.collect(Bytes::new(), 10)).await.unwrap();
    assert_eq!((&ran.stdout[..], ran.status), (&b"x\n"[..], ExitStatus::Code(8)));
}

#[tokio::test]
async fn after_its_time_a_command_without_a_client_is_killed() {
    let agent = agent();
    let (link, relay) = breakable(&agent).await;
    let mut request = ExecRequest::shell("sleep 4346 & echo $!; wait");
    request.detach_ttl = Duration::from_millis(300);
    let mut exec = link.exec(request).await.unwrap();
    let ExecEvent::Stdout(pid) = within(exec.next()).await.unwrap() else { panic!() };
    let child: i32 = String::from_utf8_lossy(&pid).trim().parse().unwrap();
    relay.abort();
    within(link.closed()).await;
    assert!(is_alive(child), "it was killed at once");
    within(gone(child)).await;
}

#[tokio::test]
async fn without_a_client_output_blocks_and_is_not_lost() {
    let agent = agent();
    let (link, relay) = breakable(&agent).await;
    let exec = link.exec(ExecRequest::shell("head -c 5000000 /dev/zero")).await.unwrap();
    relay.abort();
    within(link.closed()).await;
    let later = link_to(&agent).await;
    assert_eq!(shell(&later, "sleep 0.3; echo").await.status, ExitStatus::Code(0));
    assert_eq!(later.stats().await.unwrap().execs, 1, "it ran to its end without a reader");
    let again = later.reattach(exec.id(), exec.offsets()).await.unwrap();
    let ran = within(again.collect(Bytes::new(), usize::MAX)).await.unwrap();
    assert_eq!(ran.stdout.len(), 5_000_000);
}

#[tokio::test]
async fn a_detached_command_runs_on_and_can_be_found_again() {
    let link = link().await;
    let (exec, child) = sleeper(&link).await;
    let (id, offsets) = (exec.id(), exec.offsets());
    exec.detach();
    // A later request is answered after the detach was.
    collect(&link, ExecRequest::argv(["true"])).await;
    assert!(is_alive(child));
    let again = within(link.reattach(id, offsets)).await.unwrap();
    again.control().cancel();
    let ran = within(again.collect(Bytes::new(), 10)).await.unwrap();
    assert_eq!(ran.status, ExitStatus::Signal(9));
    within(gone(child)).await;
}

#[tokio::test]
async fn whoever_reattaches_last_has_the_command() {
    let agent = agent();
    let (first, second) = (link_to(&agent).await, link_to(&agent).await);
    let (mut exec, child) = sleeper(&first).await;
    let again = second.reattach(exec.id(), exec.offsets()).await.unwrap();
    let lost = within(exec.next()).await.unwrap_err();
    assert!(matches!(lost, LinkError::TakenOver), "{lost}");
    drop(exec);
    assert!(is_alive(child), "the old handle killed it");
    drop(again);
    within(gone(child)).await;
}

#[tokio::test]
async fn output_before_what_was_acknowledged_cannot_be_had_again() {
    let link = link().await;
    let request = ExecRequest::shell("head -c 1000000 /dev/zero; sleep 4347");
    let mut exec = link.exec(request).await.unwrap();
    let mut total = 0;
    while total < 1_000_000 {
        let ExecEvent::Stdout(bytes) = within(exec.next()).await.unwrap() else { panic!() };
        total += bytes.len();
    }
    let gone = link.reattach(exec.id(), Offsets::default()).await.unwrap_err();
    assert!(matches!(gone, LinkError::OutputGone { .. }), "{gone}");
}
