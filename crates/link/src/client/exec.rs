//! A command that runs in a box.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;

use super::line::Line;
use super::stdin::ExecStdin;
use super::{Link, answer, decode, gave_up, unexpected};
use crate::conn::{Inbound, Stream};
use crate::proto::{self, Answer, Do};
use crate::types::{Collected, ExecEvent, ExecId, ExitStatus, Offsets, PtySize};
use crate::{LinkError, channel};

/// A running command. Dropping it before the exit cancels it: the agent kills its process group.
/// After a lost link nothing is cancelled, and [`Link::reattach`](crate::Link::reattach) goes on.
pub struct Exec {
    stream: Arc<Stream>,
    line: Owned,
    id: ExecId,
    offsets: Offsets,
    stdin: Option<ExecStdin>,
    stdin_offset: u64,
    /// What the last event cost; given back when the caller comes for the next.
    owed: u32,
    /// What was delivered and not acknowledged, where the caller acknowledges.
    held: Option<VecDeque<Delivered>>,
    exited: Option<ExitStatus>,
    healer: Option<Arc<dyn Relink>>,
}

/// Gives another link to the agent of a box whose link was lost.
pub trait Relink: Send + Sync {
    /// A link that holds; waits for one as long as that makes sense, counted from `lost_at`, and before
    /// it tries when `tries` others were lost since. The command may be asked for over it and not be
    /// there any more.
    ///
    /// # Errors
    ///
    /// When there is none, and none will come.
    fn relink(
        &self,
        lost_at: Instant,
        tries: u32,
    ) -> Pin<Box<dyn Future<Output = Result<Link, LinkError>> + Send + '_>>;
}

/// The line of a command that ends with its [`Exec`].
struct Owned(Arc<Line>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What came with one event, or in between.
struct Delivered {
    /// What the caller has when it has this.
    up_to: Offsets,
    cost: u32,
}

impl Exec {
    /// Waits for the start of what was asked for; its input has `ended` if the request said so.
    pub(super) async fn start(stream: Stream, ended: bool) -> Result<Self, LinkError> {
        match answer(&stream).await? {
            Answer::Started(started) => {
                let mut exec = Self::new(stream, ExecId(started.id), Offsets::default(), started);
                if ended {
                    exec.line.0.has_ended();
                    exec.stdin = None;
                }
                Ok(exec)
            }
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn resume(
        stream: Stream,
        id: ExecId,
        from: Offsets,
    ) -> Result<Self, LinkError> {
        match answer(&stream).await {
            Ok(Answer::Started(started)) => Ok(Self::new(stream, id, from, started)),
            Ok(_) => Err(unexpected()),
            Err(LinkError::UnknownExec { .. }) => Err(LinkError::UnknownExec { id }),
            Err(LinkError::OutputGone { .. }) => Err(LinkError::OutputGone { id }),
            Err(error) => Err(error),
        }
    }

    fn new(stream: Stream, id: ExecId, offsets: Offsets, started: proto::Started) -> Self {
        let stream = Arc::new(stream);
        let line = Line::new(&stream, started.stdin);
        let stdin = started.stdin_open.then(|| ExecStdin::new(&line));
        Self {
            stream,
            line: Owned(line),
            id,
            offsets,
            stdin,
            stdin_offset: started.stdin,
            owed: 0,
            held: None,
            exited: None,
            healer: None,
        }
    }

    /// From now on a lost link is made anew, and the command goes on where it was, with nothing lost
    /// and nothing repeated; its input and its [`control`](Self::control) too. It happens in
    /// [`next`](Self::next), for as long as `healer` hopes for a link. Not for output that is
    /// [held](Self::hold), whose receiver goes on by itself.
    #[must_use]
    pub fn healed_by(mut self, healer: Arc<dyn Relink>) -> Self {
        self.line.0.heal();
        self.healer = Some(healer);
        self
    }

    /// Goes on over another link. Fails with `lost` when there is none, or the command is not there
    /// any more.
    async fn heal(&mut self, lost: LinkError) -> Result<(), LinkError> {
        let Some(healer) = self.healer.clone().filter(|_| self.held.is_none()) else {
            return Err(lost);
        };
        let lost_at = Instant::now();
        for tries in 0.. {
            // Why there is no other link is less than that this one is lost.
            let Ok(link) = healer.relink(lost_at, tries).await else { break };
            let again = match link.reattach(self.id, self.offsets).await {
                Ok(again) => again,
                // That link is lost as well.
                Err(LinkError::Lost { .. }) => continue,
                Err(LinkError::TakenOver) => return Err(LinkError::TakenOver),
                Err(_) => break,
            };
            let offset = again.stdin.is_some().then_some(again.stdin_offset);
            self.line.0.go_on(&again.stream, offset)?;
            self.stream = Arc::clone(&again.stream);
            self.owed = 0;
            return Ok(());
        }
        Err(lost)
    }

    /// What to reattach by.
    #[must_use]
    pub fn id(&self) -> ExecId {
        self.id
    }

    /// The next thing the command did. After [`ExecEvent::Exit`] it returns that again. Output not
    /// asked for blocks the command after some hundred KiB. Safe to cancel: nothing is lost.
    pub async fn next(&mut self) -> Result<ExecEvent, LinkError> {
        if let Some(status) = self.exited {
            return Ok(ExecEvent::Exit(status));
        }
        self.settle();
        loop {
            let inbound = match self.stream.recv().await {
                Err(lost @ LinkError::Lost { .. }) => {
                    let healed = self.heal(lost).await;
                    healed.inspect_err(|_| self.line.0.close())?;
                    continue;
                }
                inbound => inbound?,
            };
            match inbound {
                Inbound::Data { channel, bytes, cost, .. } => {
                    self.owed += cost;
                    if let Some(event) = self.deliver(channel, bytes) {
                        return Ok(event);
                    }
                }
                Inbound::Message(message) => {
                    if let Answer::Exit(exit) = decode(message)? {
                        let status = exit.into();
                        self.exited = Some(status);
                        // Until it hears this the agent keeps the exit, for a link that is lost.
                        if self.held.is_none() {
                            self.stream.reset();
                        }
                        return Ok(ExecEvent::Exit(status));
                    }
                }
                Inbound::End | Inbound::Reset => return Err(gave_up()),
            }
        }
    }

    /// What the last event cost is given back, or kept until it is acknowledged.
    fn settle(&mut self) {
        let (cost, up_to) = (std::mem::take(&mut self.owed), self.offsets);
        match &mut self.held {
            None => self.stream.release(cost),
            Some(_) if cost == 0 => {}
            Some(held) => held.push_back(Delivered { up_to, cost }),
        }
    }

    /// From now on the agent keeps output, and the exit, until they are
    /// [acknowledged](Self::acknowledge): a caller that passes them on can be lost with them, and the
    /// next one has them from the agent again. The command is kept as with [`detach`](Self::detach)
    /// when this is dropped.
    pub fn hold(&mut self) {
        self.held = Some(VecDeque::new());
        self.line.0.close();
        self.stream.message(&control(Do::Detach(proto::Nothing {})));
    }

    /// Output up to there has arrived where it was to go. After some hundred KiB of output that has
    /// not, the command blocks.
    pub fn acknowledge(&mut self, up_to: Offsets) {
        self.settle();
        let arrived =
            |one: &Delivered| one.up_to.stdout <= up_to.stdout && one.up_to.stderr <= up_to.stderr;
        while let Some(one) =
            self.held.as_mut().and_then(|held| held.pop_front_if(|one| arrived(one)))
        {
            self.stream.release(one.cost);
        }
    }

    /// The exit has arrived where it was to go: the agent forgets the command.
    pub fn forget(self) {
        self.stream.reset();
    }

    fn deliver(&mut self, from: u8, bytes: Bytes) -> Option<ExecEvent> {
        let length = bytes.len() as u64;
        match from {
            _ if bytes.is_empty() => None,
            channel::STDOUT => {
                self.offsets.stdout += length;
                Some(ExecEvent::Stdout(bytes))
            }
            channel::STDERR => {
                self.offsets.stderr += length;
                Some(ExecEvent::Stderr(bytes))
            }
            // A channel of a later protocol.
            _ => None,
        }
    }

    /// The command's input, once; `None` when it has none, or it was taken. Dropping it without
    /// `shutdown` leaves the input open.
    pub fn stdin(&mut self) -> Option<ExecStdin> {
        self.stdin.take()
    }

    /// Where input goes on, in bytes from its start: how much the agent has. More than 0 only
    /// after a reattach.
    #[must_use]
    pub fn stdin_offset(&self) -> u64 {
        self.stdin_offset
    }

    /// A handle to signal, resize or cancel from elsewhere.
    #[must_use]
    pub fn control(&self) -> ExecControl {
        ExecControl { line: Arc::clone(&self.line.0) }
    }

    /// What [`next`](Self::next) has delivered so far, for a reattach.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// Lets go of the command and leaves it running, as a lost link would: it can be reattached,
    /// it blocks when it has written some hundred KiB, and it is killed after its `detach_ttl`. A
    /// command that is to run for ever needs a `detach_ttl` of [`Duration::MAX`] and its output
    /// somewhere else.
    ///
    /// [`Duration::MAX`]: std::time::Duration::MAX
    pub fn detach(self) {
        self.stream.message(&control(Do::Detach(proto::Nothing {})));
    }

    /// Feeds the command `stdin`, ends its input, and gathers its output, of each stream at most
    /// `limit` bytes; what exceeds them is thrown away.
    pub async fn collect(mut self, stdin: Bytes, limit: usize) -> Result<Collected, LinkError> {
        let input = self.stdin();
        let feed = async {
            if let Some(mut input) = input {
                // A link that is lost while this writes is reported by `gather`.
                drop(input.send(stdin).await);
                drop(input.shutdown().await);
            }
            std::future::pending::<Result<Collected, LinkError>>().await
        };
        tokio::select! {
            collected = self.gather(limit) => collected,
            never = feed => never,
        }
    }

    async fn gather(&mut self, limit: usize) -> Result<Collected, LinkError> {
        let (mut stdout, mut stderr, mut truncated) = (BytesMut::new(), BytesMut::new(), false);
        loop {
            let (kept, bytes) = match self.next().await? {
                ExecEvent::Stdout(bytes) => (&mut stdout, bytes),
                ExecEvent::Stderr(bytes) => (&mut stderr, bytes),
                ExecEvent::Exit(status) => {
                    let (stdout, stderr) = (stdout.freeze(), stderr.freeze());
                    return Ok(Collected { stdout, stderr, status, truncated });
                }
            };
            let room = limit.saturating_sub(kept.len()).min(bytes.len());
            truncated |= room < bytes.len();
            kept.extend_from_slice(&bytes[..room]);
        }
    }
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("id", &self.id)
            .field("offsets", &self.offsets)
            .field("exited", &self.exited)
            .finish_non_exhaustive()
    }
}

/// Acts on a command from elsewhere. Does nothing once the command has ended or its [`Exec`] is
/// gone.
#[derive(Clone)]
pub struct ExecControl {
    line: Arc<Line>,
}

impl ExecControl {
    /// Sends a signal to the process group.
    pub fn signal(&self, signal: i32) {
        self.send(Do::Signal(signal));
    }

    /// Tells the terminal its new size.
    pub fn resize(&self, size: PtySize) {
        self.send(Do::Resize(size.into()));
    }

    /// Kills the process group. [`Exec::next`] then reports the exit by signal 9.
    pub fn cancel(&self) {
        self.signal(9);
    }

    fn send(&self, what: Do) {
        self.line.say(control(what));
    }
}

impl fmt::Debug for ExecControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecControl").finish_non_exhaustive()
    }
}

fn control(what: Do) -> proto::Control {
    proto::Control { what: Some(what) }
}
