//! A command and what goes on around it, in one task: output, input, exit, deadlines, and the link
//! that may come and go.
//!
//! ```text
//!            client gone (lost)                ttl over
//! attached ────────────────────► detached ────────────────► killed, forgotten
//!    ▲  │   ◄────────────────────    │
//!    │  │         reattach           │ it ends
//!    │  │ reset, goodbye             ▼
//!    │  └──────────► killed     exit kept until reattach or ttl
//! ```
//!
//! **The exit comes after all output.** What the command itself wrote is in its pipes when it ends,
//! so they are read until they are empty. A process that it left in the background may hold them
//! open for ever; so [`GRACE`] after the exit, what is in the pipes then is delivered, the exit is
//! reported, and whatever is written later is read and thrown away. (`docker exec` and `ssh` hang
//! there instead; closing the pipes would kill such a process by SIGPIPE.)

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use boxherd_link::channel::STDERR;
use boxherd_link::conn::{Inbound, Stream};
use boxherd_link::mux::WINDOW;
use boxherd_link::proto::{self, Answer, Cause, Control, Do, Reply};
use boxherd_link::{ExitStatus, LinkError};
use boxherd_sys::pty;
use boxherd_sys::watch::Watched;
use bytes::Bytes;
use prost::Message;
use rustix::process::{Pid, Signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::input::Input;
use super::output::Output;
use super::replay::Replay;
use super::signal_group;
use super::start::{Started, cells};
use crate::children::ExitWait;
use crate::{Inner, failure, lock};

/// How long after the exit output may still come from processes left in the background.
const GRACE: Duration = Duration::from_millis(100);

/// A link that takes a command over.
#[derive(Debug)]
pub(crate) struct Attach {
    pub(super) stream: Stream,
    pub(super) from: [u64; 2],
}

/// What happened next.
enum Turn {
    Attach(Attach),
    Inbound(Result<Inbound, LinkError>),
    Exited(ExitStatus),
    Read(usize, Option<Bytes>),
    Written(u32),
    Late,
}

pub(super) struct Job {
    inner: Arc<Inner>,
    id: u64,
    attach: mpsc::UnboundedReceiver<Attach>,
    stream: Option<Stream>,
    process: Option<(Pid, ExitWait)>,
    ended: Option<ExitStatus>,
    outputs: Vec<Output>,
    input: Input,
    terminal: Option<Arc<Watched>>,
    replay: Replay,
    detach_ttl: Option<Duration>,
    /// The client said it lets go.
    let_go: bool,
    /// Nobody will ask for it again.
    abandoned: bool,
    timed_out: bool,
    exit_sent: bool,
    timeout_at: Option<Instant>,
    forget_at: Option<Instant>,
    grace_at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Job {
    pub(super) fn new(
        inner: Arc<Inner>,
        id: u64,
        started: Started,
        attach: mpsc::UnboundedReceiver<Attach>,
    ) -> Self {
        let outputs = started.outputs.into_iter();
        let mut replay = Replay::default();
        if !started.message.is_empty() {
            replay.push(STDERR, started.message);
        }
        let terminal = started.input.clone().filter(|_| started.terminal);
        Self {
            inner,
            id,
            attach,
            stream: None,
            process: started.process,
            ended: started.ended,
            outputs: outputs.map(|(channel, fd)| Output::new(channel, fd)).collect(),
            input: Input::new(started.input, started.terminal),
            terminal,
            replay,
            detach_ttl: started.detach_ttl,
            let_go: false,
            abandoned: false,
            timed_out: false,
            exit_sent: false,
            timeout_at: started.timeout.and_then(|t| Instant::now().checked_add(t)),
            forget_at: None,
            grace_at: None,
            timer: None,
        }
    }

    /// Serves the command, first on `stream`, until it is over and nobody can ask for it.
    pub(super) async fn run(mut self, stream: Stream) {
        self.attached(Attach { stream, from: [0, 0] });
        while !self.is_over() {
            match poll_fn(|cx| self.poll_turn(cx)).await {
                Turn::Attach(attach) => self.attached(attach),
                Turn::Inbound(inbound) => self.received(inbound),
                Turn::Exited(status) => self.exited(status),
                Turn::Read(index, Some(bytes)) => self.read(index, bytes),
                Turn::Read(index, None) => self.output_ended(index),
                Turn::Written(cost) => self.release(cost),
                Turn::Late => self.late(),
            }
        }
        lock(&self.inner.jobs).remove(&self.id);
    }

    fn is_over(&self) -> bool {
        self.abandoned && self.process.is_none()
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        self.send_exit();
        if let Poll::Ready(Some(attach)) = self.attach.poll_recv(cx) {
            return Poll::Ready(Turn::Attach(attach));
        }
        if let Some(stream) = &self.stream
            && let Poll::Ready(inbound) = stream.poll_recv(cx)
        {
            return Poll::Ready(Turn::Inbound(inbound));
        }
        if let Poll::Ready(turn) = self.poll_outputs(cx) {
            return Poll::Ready(turn);
        }
        if let Some((_, wait)) = &mut self.process
            && let Poll::Ready(exit) = wait.poll_exit(cx)
        {
            // A child whose end cannot be learned has certainly not ended well.
            return Poll::Ready(Turn::Exited(exit.unwrap_or(ExitStatus::Code(255))));
        }
        if let Poll::Ready(cost) = self.input.poll_write(cx) {
            return Poll::Ready(Turn::Written(cost));
        }
        self.poll_timer(cx).map(|()| Turn::Late)
    }

    fn poll_outputs(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let Poll::Ready(room) = self.poll_room(cx) else { return Poll::Pending };
        for (index, output) in self.outputs.iter_mut().enumerate() {
            if let Poll::Ready(read) = output.poll_read(cx, room) {
                // An output that cannot be read has ended.
                return Poll::Ready(Turn::Read(index, read.unwrap_or(None)));
            }
        }
        Poll::Pending
    }

    /// How much may be read: as much as can be sent, and as much as can be kept to send it again.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let Some(stream) = &self.stream else {
            let room = self.replay.room();
            return if room > 0 { Poll::Ready(room) } else { Poll::Pending };
        };
        match stream.poll_room(cx) {
            Poll::Ready(Ok(room)) => {
                self.replay.trim(WINDOW.saturating_sub(stream.credit()));
                Poll::Ready(room.min(self.replay.room()))
            }
            // The end of the stream is dealt with where it is received.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadlines = [self.timeout_at, self.forget_at, self.grace_at];
        let Some(next) = deadlines.into_iter().flatten().min() else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        timer.as_mut().poll(cx)
    }

    fn attached(&mut self, attach: Attach) {
        let Attach { stream, from } = attach;
        let Ok(pieces) = self.replay.resume(from) else {
            return stream.end(failure(Cause::OutputGone, 0, ""));
        };
        if let Some(old) = self.stream.take() {
            old.end(failure(Cause::TakenOver, 0, ""));
        }
        self.input.forget_costs();
        (self.forget_at, self.let_go, self.exit_sent) = (None, false, false);
        reply(
            &stream,
            Answer::Started(proto::Started {
                id: self.id,
                stdin: self.input.received(),
                stdin_open: self.input.is_open(),
            }),
        );
        for piece in pieces {
            stream.send_now(piece.channel, piece.bytes, false);
        }
        self.stream = Some(stream);
    }

    fn received(&mut self, inbound: Result<Inbound, LinkError>) {
        match inbound {
            Ok(Inbound::Data { bytes, fin, cost, .. }) => self.input.push(bytes, fin, cost),
            Ok(Inbound::Message(message)) => {
                // A message of a later protocol is skipped.
                if let Some(what) = Control::decode(message).ok().and_then(|c| c.what) {
                    self.control(what);
                }
            }
            // The goodbye of a client that let go first is no goodbye to the command.
            Ok(Inbound::End | Inbound::Reset) | Err(LinkError::Closed)
                if self.let_go && self.ended.is_none() =>
            {
                self.detached();
            }
            Ok(Inbound::End | Inbound::Reset) | Err(LinkError::Closed) => self.abandon(),
            Err(_) => self.detached(),
        }
    }

    fn control(&mut self, what: Do) {
        match what {
            Do::Signal(signal) => {
                // A number that is no signal does nothing, as `kill` would refuse it.
                if let (Some((pid, _)), Some(signal)) =
                    (&self.process, Signal::from_named_raw(signal))
                {
                    signal_group(*pid, signal);
                }
            }
            Do::Resize(size) => {
                if let Some(master) = &self.terminal {
                    // A terminal that has hung up has no size.
                    drop(pty::resize(master, cells(size.rows), cells(size.cols)));
                }
            }
            Do::Detach(_) => self.let_go = true,
            // Of files only.
            Do::Widen(_) => {}
        }
    }

    /// The client is gone and may come back.
    fn detached(&mut self) {
        self.stream = None;
        self.input.forget_costs();
        self.forget_at = self.detach_ttl.and_then(|ttl| Instant::now().checked_add(ttl));
    }

    /// Nobody comes back: the process group is killed.
    fn abandon(&mut self) {
        self.stream = None;
        self.abandoned = true;
        self.outputs.clear();
        self.kill();
    }

    fn kill(&self) {
        if let Some((pid, _)) = &self.process {
            signal_group(*pid, Signal::KILL);
        }
    }

    fn exited(&mut self, status: ExitStatus) {
        self.process = None;
        if let Some(job) = lock(&self.inner.jobs).get_mut(&self.id) {
            job.group = None;
        }
        self.ended = Some(if self.timed_out { ExitStatus::TimedOut } else { status });
        self.timeout_at = None;
        self.input.close();
        if !self.outputs.is_empty() {
            self.grace_at = Some(Instant::now() + GRACE);
        }
    }

    fn read(&mut self, index: usize, bytes: Bytes) {
        let channel = self.outputs[index].channel;
        if let Some(stream) = &self.stream {
            stream.send_now(channel, bytes.clone(), false);
        }
        self.replay.push(channel, bytes);
    }

    fn output_ended(&mut self, index: usize) {
        let output = self.outputs.swap_remove(index);
        if self.grace_at.is_none() && self.ended.is_some() {
            tokio::spawn(output.discard());
        }
        if self.outputs.is_empty() {
            self.grace_at = None;
        }
    }

    fn release(&mut self, cost: u32) {
        if let Some(stream) = &self.stream {
            stream.release(cost);
        }
    }

    fn late(&mut self) {
        let now = Instant::now();
        let passed = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if passed(&mut self.timeout_at) {
            self.timed_out = true;
            self.kill();
        }
        if passed(&mut self.grace_at) {
            self.outputs.iter_mut().for_each(Output::finish);
        }
        if passed(&mut self.forget_at) {
            self.abandon();
        }
    }

    /// Reports the exit, once all output has been sent. It is kept until the client resets the
    /// stream, in case the link is lost on the way.
    fn send_exit(&mut self) {
        if let (Some(status), Some(stream), true, false) =
            (self.ended, &self.stream, self.outputs.is_empty(), self.exit_sent)
        {
            self.exit_sent = true;
            reply(stream, Answer::Exit(status.into()));
        }
    }
}

fn reply(stream: &Stream, answer: Answer) {
    stream.message(&Reply { answer: Some(answer) });
}
