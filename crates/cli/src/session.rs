//! A command in a box, connected to our streams, our terminal and our signals until it ends.

use std::future::pending;
use std::io;
use std::time::Duration;

use boxherd_link::{ExecEvent, ExitStatus, PtySize};
use tokio::time::{Instant, timeout_at};

use crate::args::TtyFlags;
use crate::failure::Failure;
use crate::process::{Control, Input, Process};
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

    /// Connects `process` until it ends. The first signal that ends programs goes to the command, the
    /// second kills it, the third leaves it to its agent. The wire has no signals: there the first
    /// ends the command, and so does the end of its time.
    pub(crate) async fn drive(
        self,
        mut process: Process,
        signals: &mut Signals,
    ) -> Result<ExitStatus, Failure> {
        let raw = self.pty.is_some() && self.stdin && terminal::input_is_terminal();
        let _raw = raw
            .then(RawMode::enter)
            .transpose()
            .map_err(|error| Failure::io("cannot make the terminal raw", &error))?;
        let control = process.control();
        // A terminal whose input nobody has stays open; any other input has ended.
        let (input, _open) = match (process.input(), self.stdin) {
            (input, true) => (input, None),
            (input, false) => (None, input.filter(|_| self.pty.is_some())),
        };
        let there = self.timeout.filter(|_| process.is_there());
        let ended = tokio::select! {
            ended = output(&mut process, self.timeout) => ended,
            () = time_is_up(there) => Ok(ExitStatus::TimedOut),
            failed = feed(input) => Err(failed),
            failed = follow_size(self.pty.is_some(), &control) => Err(failed),
            ended = pass_signals(signals, &control) => ended,
        };
        process.end().await;
        ended
    }
}

async fn time_is_up(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => pending().await,
    }
}

/// Writes what the command writes, until it ends. An agent that does not end it after `timeout` is
/// not waited for; whoever reads our output may take longer.
async fn output(process: &mut Process, timeout: Option<Duration>) -> Result<ExitStatus, Failure> {
    let (stdout, stderr) = (Output::stdout(), Output::stderr());
    let patience = timeout.and_then(|timeout| timeout.checked_add(SLACK));
    let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
    let mut rest = REST;
    loop {
        let event = match deadline {
            Some(deadline) => {
                timeout_at(deadline, process.next()).await.map_err(|_| not_ended())??
            }
            None => process.next().await?,
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
async fn feed(input: Option<Input>) -> Failure {
    let Some(mut to) = input else { return pending().await };
    let mut from = match streams::input() {
        Ok(from) => from,
        Err(error) => return Failure::io("cannot read standard input", &error),
    };
    while let Some(piece) = from.recv().await {
        match piece {
            // It reads no more, or has ended: its exit says so.
            Ok(bytes) => {
                if !to.send(bytes).await {
                    return pending().await;
                }
            }
            Err(error) => return Failure::io("cannot read standard input", &error),
        }
    }
    to.end().await;
    pending().await
}

async fn follow_size(has_terminal: bool, control: &Control) -> Failure {
    if !has_terminal {
        return pending().await;
    }
    let mut resizes = match signals::resizes() {
        Ok(resizes) => resizes,
        Err(error) => return failed_signals(&error),
    };
    // It may have changed between the request and the handler.
    control.resize(terminal::size()).await;
    while resizes.recv().await.is_some() {
        control.resize(terminal::size()).await;
    }
    pending().await
}

async fn pass_signals(signals: &mut Signals, control: &Control) -> Result<ExitStatus, Failure> {
    let mut asked = 0;
    loop {
        let signal = signals.next().await;
        asked += u32::from(signals::ends(signal));
        match (control, asked) {
            (Control::Here(control), 0 | 1) => control.signal(signal),
            (Control::Here(control), 2) => control.cancel(),
            (Control::There(_), 0) => {}
            (Control::There(_), 1) => return Ok(ExitStatus::Signal(signal)),
            _ => {
                let message = "interrupted before the command had ended";
                return Err(Failure::new("interrupted", message));
            }
        }
    }
}

fn failed_signals(error: &io::Error) -> Failure {
    Failure::io("cannot wait for signals", error)
}
