//! Commands.

use std::future::pending;
use std::time::Duration;

use boxherd_link::{Exec as Running, ExecControl, ExecEvent, ExecStdin, ExitStatus};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Desk;
use super::answer::Refusal;
use super::request::{Control, Exec};
use super::table::Ends;
use super::window::Incoming;

/// How much longer than its time an agent may take to say that a command has ended.
const SLACK: Duration = Duration::from_secs(5);
/// How much output may come after that, in bytes: pipes and windows that were full hold less.
const REST: usize = 8 << 20;

/// Runs a command and tells what it does. Dropped before that, the command is killed.
pub(super) async fn exec(desk: &Desk, id: u64, asked: &Exec, ends: Ends) -> Result<(), Refusal> {
    let request = asked.request()?;
    let deadline = request
        .timeout
        .and_then(|timeout| Instant::now().checked_add(timeout.saturating_add(SLACK)));
    let mut running = desk.herd.exec(&asked.address, request).await?;
    desk.answers.event(id, "started", Value::Null);
    let (control, stdin) = (running.control(), running.stdin());
    let Ends { data, control: asked, incoming, outgoing } = ends;
    let patience = Patience { deadline, rest: REST };
    tokio::select! {
        ended = output(&mut running, desk, id, &outgoing, patience) => ended,
        never = feed(stdin, data, |bytes| incoming_used(&incoming, desk, id, bytes)) => never,
        never = steer(&control, asked) => never,
    }
}

fn incoming_used(incoming: &Incoming, desk: &Desk, id: u64, bytes: usize) {
    incoming.used(id, bytes, &desk.answers);
}

/// When an agent should have ended a command whose time was up, and how much output may follow.
struct Patience {
    deadline: Option<Instant>,
    rest: usize,
}

impl Patience {
    /// What `running` does next. A client that takes no output makes no agent late.
    async fn next(&mut self, running: &mut Running) -> Result<ExecEvent, Refusal> {
        let Some(deadline) = self.deadline else { return Ok(running.next().await?) };
        let now = Instant::now();
        let event = timeout_at(deadline.max(now + SLACK), running.next());
        let event = event.await.map_err(|_| not_ended())??;
        if let (true, ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes)) =
            (now > deadline, &event)
        {
            self.rest = self.rest.checked_sub(bytes.len()).ok_or_else(not_ended)?;
        }
        Ok(event)
    }
}

async fn output(
    running: &mut Running,
    desk: &Desk,
    id: u64,
    outgoing: &super::window::Outgoing,
    mut patience: Patience,
) -> Result<(), Refusal> {
    loop {
        let (event, bytes) = match patience.next(running).await? {
            ExecEvent::Stdout(bytes) => ("stdout", bytes),
            ExecEvent::Stderr(bytes) => ("stderr", bytes),
            ExecEvent::Exit(status) => {
                desk.answers.event(id, "exit", exit(status));
                return Ok(());
            }
        };
        outgoing.take(bytes.len()).await?;
        desk.answers.bytes(id, event, &bytes);
    }
}

fn exit(status: ExitStatus) -> Value {
    match status {
        ExitStatus::Code(code) => json!({ "code": code }),
        ExitStatus::Signal(signal) => json!({ "signal": signal }),
        ExitStatus::TimedOut => json!({ "timed_out": true }),
    }
}

fn not_ended() -> Refusal {
    Refusal::new("agent-silent", "the agent did not end the command when its time was up")
}

/// Gives the command its input. What a command does not read any more is used up, as by a shell.
async fn feed(
    stdin: Option<ExecStdin>,
    data: Option<mpsc::UnboundedReceiver<Bytes>>,
    used: impl Fn(usize),
) -> Result<(), Refusal> {
    // A terminal whose input nobody has stays open: `stdin` lives as long as this.
    let (mut stdin, Some(mut data)) = (stdin, data) else { return pending().await };
    while let Some(bytes) = data.recv().await {
        let length = bytes.len();
        if let Some(open) = &mut stdin
            && open.send(bytes).await.is_err()
        {
            // It has ended or reads no more: its exit says so.
            stdin = None;
        }
        used(length);
    }
    if let Some(mut stdin) = stdin {
        use tokio::io::AsyncWriteExt as _;
        // The same.
        let _reads_no_more = stdin.shutdown().await;
    }
    pending().await
}

async fn steer(control: &ExecControl, mut asked: mpsc::Receiver<Control>) -> Result<(), Refusal> {
    while let Some(what) = asked.recv().await {
        match what {
            Control::Signal(signal) => control.signal(signal),
            Control::Resize(size) => control.resize(size),
        }
    }
    pending().await
}
