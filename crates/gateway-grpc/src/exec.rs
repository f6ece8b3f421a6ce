//! `Exec`: a command's input and output over one bidirectional stream.
//!
//! The first frame says what to run, the others are input or the size of the terminal. That no more
//! frames come is the end of input and no reason to end the command; that the call is gone is, and
//! ends its process group. The exit code comes in a frame of its own, after all output.
//!
//! Whoever asks for it (`boxherd`, ours) has a command that outlives its call, and this server: the agent
//! keeps what the client has not acknowledged, and another call goes on with it.

use std::fmt;
use std::time::{Duration, Instant};

use boxherd_boxd_api::{BoxherdExec, ExecChunk};
use boxherd_herd::{Herd, HerdError, InUse};
use boxherd_link::{
    Exec, ExecControl, ExecEvent, ExecRequest, ExecStdin, LinkError, Offsets, PtySize,
};
use boxherd_model::BoxId;
use futures_util::stream::unfold;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

use crate::desk::Desk;
use crate::frames::{Frames, Unreadable};
use crate::kept::{Kept, LONGEST, Next, Slot, Which};
use crate::service::Answers;
use crate::status::status;
use crate::translate::invalid;

/// The size of a terminal whose size is not given.
const SIZE: PtySize = PtySize { rows: 24, cols: 80 };
/// What a terminal takes for the end of input (VEOF).
pub(crate) const END_OF_INPUT: &[u8] = b"\x04";
/// How long a client may take to end its side of a call after its command.
const LINGER: Duration = Duration::from_secs(5);
/// What programs are told about the terminal.
const TERM: (&str, &str) = ("TERM", "xterm-256color");

/// A command that was started, for its client.
pub(crate) struct Begun {
    /// Which one it is, where it is kept.
    pub(crate) which: Option<Which>,
    /// Whether the client waits for nothing but what the command says.
    pub(crate) all_is_said: bool,
    pub(crate) answers: Answers<ExecChunk>,
}

/// A command that was started, and what must live as long as its call.
struct Running {
    exec: Exec,
    kept: Option<Kept>,
    of: BoxId,
    name: String,
    herd: Herd,
    since: Instant,
    input: Input,
    unreadable: Unreadable,
    slot: Slot,
    _awake: InUse,
}

/// The task that passes input on, where there is any. It ends when this is dropped.
struct Input(Option<JoinHandle<()>>);

impl Input {
    /// Lets the client end its side of a call whose command has ended. A call that is answered before
    /// is reset, and a client that speaks on then does wrong; it is hung up on when it has done so a
    /// thousand times.
    fn linger(&mut self) {
        let Some(mut task) = self.0.take() else { return };
        tokio::spawn(async move {
            if tokio::time::timeout(LINGER, &mut task).await.is_err() {
                task.abort();
            }
        });
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("exec", &self.exec).finish_non_exhaustive()
    }
}

/// Starts what the first frame says.
pub(crate) async fn exec(
    desk: &Desk<'_>,
    first: ExecChunk,
    frames: Streaming<ExecChunk>,
) -> Result<Begun, HerdError> {
    let address = desk.address("vm_id", &first.vm_id)?;
    if first.command.contains('\0') {
        return Err(invalid("command", "it has a NUL byte"));
    }
    let (found, awake) = desk.herd.keep_awake(&address).await?;
    let id = found.id();
    desk.about(id);
    let ours = first.boxherd.clone().unwrap_or_default();
    let (mut frames, unreadable) = Frames::new(frames);
    let mut all_is_said = false;
    let (mut exec, slot) = match ours.exec_id.as_str() {
        "" => {
            let mut slot = Slot::new(&desk.herd).await?;
            let mut request = request(&first);
            let keep = request.detach_ttl;
            // Of a command that is kept, another call may go on with the input.
            all_is_said = keep.is_zero() && frames.are_over();
            let is_over = all_is_said || (!keep.is_zero() && ours.input_ended);
            request.ended = is_over && first.data.is_empty() && !first.tty;
            let exec = desk.herd.exec_in(found, request).await?;
            if !keep.is_zero() {
                slot.keep(&desk.herd, (id, exec.id()), keep);
            }
            (exec, slot)
        }
        text => {
            let exec_id = text.parse().map_err(|_| invalid("boxherd.exec_id", "it is none"))?;
            let mut slot = Slot::again(&desk.herd, (id, exec_id));
            let exec = desk.herd.go_on(found, exec_id, offsets(&ours)).await;
            // One that is gone counts no more.
            (exec.inspect_err(|_| slot.free())?, slot)
        }
    };
    let kept = ours.keep_ms > 0 || !ours.exec_id.is_empty();
    let which = kept.then(|| Which { id: exec.id(), stdin: exec.stdin_offset() });
    let (kept, ears) = kept.then(|| Kept::hold(&mut exec)).unzip();
    let (stdin, control) = (exec.stdin(), exec.control());
    let input = match ears {
        Some(ears) => Some(tokio::spawn(ears.listen(first, frames, stdin, control))),
        None => stdin.map(|stdin| tokio::spawn(feed(frames, first, stdin, control))),
    };
    let name = address.to_string();
    let input = Input(input);
    let (herd, since) = (desk.herd.clone(), Instant::now());
    let running =
        Running { exec, kept, of: id, name, herd, since, input, unreadable, slot, _awake: awake };
    Ok(Begun { which, all_is_said, answers: Box::pin(unfold(Some(running), output)) })
}

fn request(first: &ExecChunk) -> ExecRequest {
    let pty = first.tty.then(|| size(first));
    let env = pty.iter().map(|_| (TERM.0.to_owned(), TERM.1.to_owned())).collect();
    // A call that is gone is a client that is gone, and nothing can go on where it was, unless it says so.
    let keep = first.boxherd.as_ref().map_or(0, |ours| ours.keep_ms);
    let detach_ttl = Duration::from_millis(keep).min(LONGEST);
    let user = Some(first.boxherd_user.clone()).filter(|user| !user.is_empty());
    let line = ExecRequest::shell(first.command.clone());
    ExecRequest { stdin: true, pty, env, user, detach_ttl, ..line }
}

fn offsets(ours: &BoxherdExec) -> Offsets {
    Offsets { stdout: ours.stdout, stderr: ours.stderr }
}

pub(crate) fn size(frame: &ExecChunk) -> PtySize {
    let or = |given: u32, default| match given {
        0 => default,
        given => u16::try_from(given).unwrap_or(u16::MAX),
    };
    PtySize { rows: or(frame.rows, SIZE.rows), cols: or(frame.cols, SIZE.cols) }
}

/// Passes input on until there is no more of it.
async fn feed(
    mut frames: Frames<ExecChunk>,
    first: ExecChunk,
    mut stdin: ExecStdin,
    control: ExecControl,
) {
    let tty = first.tty;
    let fed = async {
        if !first.data.is_empty() {
            stdin.send(first.data).await?;
        }
        loop {
            match frames.message().await {
                Ok(Some(frame)) if frame.window_change => {
                    if tty {
                        control.resize(size(&frame));
                    }
                }
                Ok(Some(frame)) if frame.data.is_empty() => {}
                Ok(Some(frame)) => stdin.send(frame.data).await?,
                Ok(None) => break,
                // The call is gone, and with it the command.
                Err(_) => return Ok(()),
            }
        }
        match tty {
            true => stdin.send(END_OF_INPUT.into()).await,
            false => stdin.shutdown().await.map_err(|_| LinkError::Closed),
        }
    };
    // A command that takes no more input says so; what it does without is its own affair.
    if let Err(error) = fed.await {
        tracing::debug!(%error, "input of a command ended early");
    }
    while let Ok(Some(_)) = frames.message().await {}
}

/// The next frame of a command, until the one that says how it ended.
async fn output(running: Option<Running>) -> Option<(Result<ExecChunk, Status>, Option<Running>)> {
    let mut running = running?;
    if running.kept.as_ref().is_some_and(|kept| kept.exited) {
        running.forget().await;
        return None;
    }
    let next = tokio::select! {
        biased;
        Some(status) = running.unreadable.heard() => return Some((Err(status), None)),
        next = next(&mut running.exec, &mut running.kept) => next,
    };
    let event = match next {
        Ok(Next::Taken(stdin)) => {
            let ours = BoxherdExec { stdin, ..BoxherdExec::default() };
            let frame = ExecChunk { boxherd: Some(ours), ..ExecChunk::default() };
            return Some((Ok(frame), Some(running)));
        }
        Ok(Next::Event(event)) => Ok(event),
        Err(error) => Err(error),
    };
    let frame = match event {
        Ok(ExecEvent::Stdout(data)) => ExecChunk { data, ..ExecChunk::default() },
        Ok(ExecEvent::Stderr(data)) => ExecChunk { data, is_stderr: true, ..ExecChunk::default() },
        Ok(ExecEvent::Exit(exit)) => {
            running.herd.exec_ended(running.since.elapsed());
            running.slot.free();
            let frame = ExecChunk { exit_code: exit.shell_code(), ..ExecChunk::default() };
            let Some(kept) = &mut running.kept else {
                running.input.linger();
                return Some((Ok(frame), None));
            };
            kept.exited = true;
            frame
        }
        Err(source) => {
            if matches!(source, LinkError::TakenOver) {
                // It counts for the call that goes on with it.
                running.slot.free();
            }
            let error = running.herd.why_lost(running.of, &running.name, source).await;
            return Some((Err(status(&error)), None));
        }
    };
    Some((Ok(frame), Some(running)))
}

async fn next(exec: &mut Exec, kept: &mut Option<Kept>) -> Result<Next, LinkError> {
    match kept {
        None => exec.next().await.map(Next::Event),
        Some(kept) => kept.next(exec).await,
    }
}

impl Running {
    /// Once the client has the exit, the agent keeps it no longer; from one that never says so, it is
    /// asked for again.
    async fn forget(mut self) {
        let Some(kept) = &mut self.kept else { return };
        if tokio::time::timeout(LINGER, kept.heard_all()).await.unwrap_or(false) {
            self.exec.forget();
        }
        self.input.linger();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_a_size() {
        let asked = ExecChunk { tty: true, cols: 200, ..ExecChunk::default() };
        assert_eq!(request(&asked).pty, Some(PtySize { rows: 24, cols: 200 }));
        assert_eq!(request(&ExecChunk::default()).pty, None);
        let vast = ExecChunk { rows: 1 << 20, cols: 1, ..ExecChunk::default() };
        assert_eq!(size(&vast), PtySize { rows: u16::MAX, cols: 1 });
    }
}
