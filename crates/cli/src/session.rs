//! A command in a box, connected to our streams, our terminal and our signals until it ends.

use std::future::pending;
use std::io;
use std::time::Duration;

use boxherd_link::{Exec, ExecControl, ExecEvent, ExecStdin, ExitStatus, PtySize};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};

use crate::args::TtyFlags;
use crate::failure::Failure;
use crate::signals::{self, Signals};
use crate::streams::{self, Output};
use crate::terminal::{self, RawMode};

/// How a command is connected to us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    /// It gets our standard input.
    pub(crate) stdin: bool,
    /// It gets a terminal of this size.
    pub(crate) pty: Option<PtySize>,
    /// When its agent should have ended it.
    pub(crate) timeout: Option<Duration>,
}

/// How much longer than the timeout an agent may take to say that the command has ended.
const SLACK: Duration = Duration::from_secs(5);
/// How much output may come after that, in bytes: pipes and windows that were full hold less.
const REST: usize = 4 << 20;

impl Session {
    /// As the flags say: input goes in when it is no terminal, or with `-i`.
    pub(crate) fn new(flags: TtyFlags, timeout: Option<Duration>) -> Self {
        Self {
            stdin: flags.interactive || !terminal::input_is_terminal(),
            pty: flags.tty.then(terminal::size),
            timeout,
        }
    }

    /// Connects `exec` until it ends. The first signal that ends programs goes to the command, the
    /// second kills it, the third leaves it to its agent.
    pub(crate) async fn drive(
        self,
        mut exec: Exec,
        signals: &mut Signals,
    ) -> Result<ExitStatus, Failure> {
        let raw = self.pty.is_some() && self.stdin && terminal::input_is_terminal();
        let _raw = raw
            .then(RawMode::enter)
            .transpose()
            .map_err(|error| Failure::io("cannot make the terminal raw", &error))?;
        let control = exec.control();
        let input = exec.stdin().filter(|_| self.stdin);
        tokio::select! {
            ended = output(&mut exec, self.timeout) => ended,
            failed = feed(input) => Err(failed),
            failed = follow_size(self.pty.is_some(), &control) => Err(failed),
            failed = pass_signals(signals, &control) => Err(failed),
        }
    }
}

/// Writes what the command writes, until it ends. An agent that does not end it after `timeout` is
/// not waited for; whoever reads our output may take longer.
async fn output(exec: &mut Exec, timeout: Option<Duration>) -> Result<ExitStatus, Failure> {
    let (stdout, stderr) = (Output::stdout(), Output::stderr());
    let patience = timeout.and_then(|timeout| timeout.checked_add(SLACK));
    let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
    let mut rest = REST;
    loop {
        let event = match deadline {
            Some(deadline) => {
                timeout_at(deadline, exec.next()).await.map_err(|_| not_ended())??
            }
            None => exec.next().await?,
        };
        let (output, bytes) = match event {
            ExecEvent::Stdout(bytes) => (stdout, bytes),
            ExecEvent::Stderr(bytes) => (stderr, bytes),
            ExecEvent::Exit(status) => return Ok(status),
        };
        if deadline.is_some_and(|deadline| deadline < Instant::now()) {
            rest = rest.checked_sub(bytes.len()).ok_or_else(not_ended)?;
        }
        output.write(bytes).await.map_err(|error| Failure::output(&error))?;
    }
}

fn not_ended() -> Failure {
    Failure::new("agent-silent", "the agent did not end the command when its time was up")
        .hint("`boxherd restart` gives the box a new agent")
}

/// Gives the command our input; returns only when it cannot be read.
async fn feed(input: Option<ExecStdin>) -> Failure {
    let Some(mut to) = input else { return pending().await };
    let mut from = match streams::input() {
        Ok(from) => from,
        Err(error) => return Failure::io("cannot read standard input", &error),
    };
    while let Some(piece) = from.recv().await {
        match piece {
            // It reads no more, or has ended: its exit says so.
            Ok(bytes) => {
                if to.send(bytes).await.is_err() {
                    return pending().await;
                }
            }
            Err(error) => return Failure::io("cannot read standard input", &error),
        }
    }
    // As above.
    drop(to.shutdown().await);
    pending().await
}

async fn follow_size(has_terminal: bool, control: &ExecControl) -> Failure {
    if !has_terminal {
        return pending().await;
    }
    let mut resizes = match signals::resizes() {
        Ok(resizes) => resizes,
        Err(error) => return failed_signals(&error),
    };
    // It may have changed between the request and the handler.
    control.resize(terminal::size());
    while resizes.recv().await.is_some() {
        control.resize(terminal::size());
    }
    pending().await
}

async fn pass_signals(signals: &mut Signals, control: &ExecControl) -> Failure {
    let mut asked = 0;
    loop {
        let signal = signals.next().await;
        asked += u32::from(signals::ends(signal));
        match asked {
            0 | 1 => control.signal(signal),
            2 => control.cancel(),
            _ => return Failure::new("interrupted", "interrupted before the command had ended"),
        }
    }
}

fn failed_signals(error: &io::Error) -> Failure {
    Failure::io("cannot wait for signals", error)
}
