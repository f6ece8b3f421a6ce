//! Commands that outlive their call, and this server: what the client and the server tell each other about
//! them (`BoxherdExec`, ours).
//!
//! The agent keeps output until the client has acknowledged it. So acknowledgements must always get
//! through, whatever waits for the command to read its input: input is taken off the wire at once, and the
//! client sends no more than was agreed beyond what was passed on.

use std::time::Duration;

use boxherd_boxd_api::{BoxherdExec, ExecChunk};
use boxherd_herd::{ExecSlot, Herd, HerdError};
use boxherd_link::{Exec, ExecControl, ExecEvent, ExecId, ExecStdin, LinkError, Offsets};
use boxherd_model::BoxId;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Notify, watch};
use tonic::metadata::MetadataMap;

use crate::exec::{END_OF_INPUT, size};
use crate::frames::Frames;

/// For how long a command is kept that nobody listens to, at most.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);
/// How much input may wait, in bytes: what is agreed, and a frame.
const WAITING: usize = 2 * 1024 * 1024;

/// What goes along with a command that outlives its call.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What the client has.
    heard: watch::Receiver<Heard>,
    /// How much input was passed on, in bytes from its start.
    taken: watch::Receiver<u64>,
    /// The client was told of the exit.
    pub(crate) exited: bool,
}

/// What a command counts as for its user's quota. Dropped before the command has ended, it counts on for
/// as long as the command is kept.
#[derive(Debug)]
pub(crate) struct Slot {
    slot: Option<ExecSlot>,
    kept: Option<(Herd, (BoxId, ExecId), Duration)>,
}

impl Slot {
    /// Of a command that is about to begin.
    pub(crate) async fn new(herd: &Herd) -> Result<Self, HerdError> {
        Ok(Self { slot: Some(herd.exec_slot().await?), kept: None })
    }

    /// Of a command that goes on.
    pub(crate) fn again(herd: &Herd, command: (BoxId, ExecId)) -> Self {
        let (slot, keep) = herd.take_slot(command);
        let kept = Some((herd.clone(), command, keep.unwrap_or(LONGEST)));
        Self { slot: Some(slot), kept }
    }

    /// The command has begun and is kept for so long.
    pub(crate) fn keep(&mut self, herd: &Herd, command: (BoxId, ExecId), keep: Duration) {
        self.kept = Some((herd.clone(), command, keep));
    }

    /// The command has ended, or is another call's to count.
    pub(crate) fn free(&mut self) {
        self.kept = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let (Some(slot), Some((herd, command, keep))) = (self.slot.take(), self.kept.take()) {
            herd.leave_slot(command, slot, keep);
        }
    }
}

/// Which command it is that is kept.
#[derive(Debug)]
pub(crate) struct Which {
    pub(crate) id: ExecId,
    /// How much input it has, in bytes from the start.
    pub(crate) stdin: u64,
}

impl Which {
    pub(crate) fn tell(&self, metadata: &mut MetadataMap) {
        // Hexadecimal digits, which always are one.
        if let Ok(id) = self.id.to_string().parse() {
            metadata.insert("boxherd-exec-id", id);
        }
        metadata.insert("boxherd-stdin", self.stdin.into());
    }
}

/// What becomes of what the client says.
#[derive(Debug)]
pub(crate) struct Ears {
    heard: watch::Sender<Heard>,
    taken: watch::Sender<u64>,
}

/// What the client has of a command.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    output: Offsets,
    exit: bool,
}

/// What is to be told next.
#[derive(Debug)]
pub(crate) enum Next {
    Event(ExecEvent),
    Taken(u64),
}

impl Kept {
    /// Has the agent keep what `exec` writes.
    pub(crate) fn hold(exec: &mut Exec) -> (Self, Ears) {
        exec.hold();
        let (hear, heard) = watch::channel(Heard::default());
        let (take, taken) = watch::channel(exec.stdin_offset());
        let kept = Self { heard, taken, exited: false };
        (kept, Ears { heard: hear, taken: take })
    }

    /// What the command does next. What has arrived at the client meanwhile, the agent keeps no longer.
    pub(crate) async fn next(&mut self, exec: &mut Exec) -> Result<Next, LinkError> {
        loop {
            tokio::select! {
                biased;
                Ok(()) = self.heard.changed() => {
                    exec.acknowledge(self.heard.borrow_and_update().output);
                }
                event = exec.next() => return event.map(Next::Event),
                Ok(()) = self.taken.changed() => {
                    return Ok(Next::Taken(*self.taken.borrow_and_update()));
                }
            }
        }
    }

    /// Waits until the client has the exit, too; `false` when it will not say so any more.
    pub(crate) async fn heard_all(&mut self) -> bool {
        self.heard.wait_for(|heard| heard.exit).await.is_ok()
    }
}

impl Ears {
    /// Takes what the client says, until it says no more.
    pub(crate) async fn listen(
        self,
        first: ExecChunk,
        frames: Frames<ExecChunk>,
        stdin: Option<ExecStdin>,
        control: ExecControl,
    ) {
        let inbox = Inbox::default();
        tokio::join!(
            async {
                self.hear(first, frames, &inbox, control).await;
                inbox.change(|waiting| waiting.closed = true);
            },
            self.pass_on(&inbox, stdin),
        );
    }

    async fn hear(
        &self,
        first: ExecChunk,
        mut frames: Frames<ExecChunk>,
        inbox: &Inbox,
        control: ExecControl,
    ) {
        let tty = first.tty;
        let mut frame = first;
        loop {
            if let Some(ours) = &frame.boxherd {
                self.heed(ours, &control);
                if ours.input_ended {
                    inbox.change(|waiting| match tty {
                        true => waiting.data.extend_from_slice(END_OF_INPUT),
                        false => waiting.ended = true,
                    });
                }
            } else if frame.window_change && tty {
                control.resize(size(&frame));
            }
            if !inbox.put(&frame.data) {
                tracing::debug!("a client sends more input than was agreed");
                return;
            }
            frame = match frames.message().await {
                Ok(Some(frame)) => frame,
                // The call is gone, and another one may go on with the input.
                Ok(None) | Err(_) => return,
            };
        }
    }

    fn heed(&self, ours: &BoxherdExec, control: &ExecControl) {
        if ours.signal != 0 {
            control.signal(ours.signal);
        }
        self.heard.send_modify(|heard| {
            heard.output.stdout = heard.output.stdout.max(ours.stdout);
            heard.output.stderr = heard.output.stderr.max(ours.stderr);
            heard.exit |= ours.done;
        });
    }

    async fn pass_on(&self, inbox: &Inbox, stdin: Option<ExecStdin>) {
        // Of a command that goes on after its input has ended.
        let Some(mut stdin) = stdin else { return };
        loop {
            let taken = match inbox.take().await {
                Taken::Data(data) => {
                    let length = data.len() as u64;
                    let sent = stdin.send(data).await;
                    self.taken.send_modify(|taken| *taken += length);
                    sent
                }
                Taken::End => stdin.shutdown().await.map_err(|_| LinkError::Closed),
                Taken::Nothing => return,
            };
            // A command that takes no more input says so; what it does without is its own affair.
            if let Err(error) = taken {
                tracing::debug!(%error, "input of a command ended early");
                return;
            }
        }
    }
}

/// Input that waits for a command to read it, in one piece, however small those are that came.
#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    data: BytesMut,
    /// There is no more input.
    ended: bool,
    /// No more comes over this call.
    closed: bool,
}

/// What was in an [`Inbox`].
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Data(Bytes),
    /// The end of the input, once.
    End,
    /// And no more will be.
    Nothing,
}

impl Inbox {
    /// `false` when there is no room.
    fn put(&self, data: &[u8]) -> bool {
        if data.is_empty() {
            return true;
        }
        let fits = self.waiting.lock().data.len() + data.len() <= WAITING;
        if fits {
            self.change(|waiting| waiting.data.extend_from_slice(data));
        }
        fits
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock());
        self.changed.notify_one();
    }

    async fn take(&self) -> Taken {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if !waiting.data.is_empty() {
                    return Taken::Data(waiting.data.split().freeze());
                }
                if std::mem::take(&mut waiting.ended) {
                    return Taken::End;
                }
                if waiting.closed {
                    return Taken::Nothing;
                }
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_pieces_wait_as_one_and_no_more_than_fits() {
        let inbox = Inbox::default();
        for _ in 0..WAITING {
            assert!(inbox.put(b"x"));
        }
        assert!(!inbox.put(b"x"));
        inbox.change(|waiting| waiting.ended = true);
        inbox.change(|waiting| waiting.closed = true);
        assert_eq!(inbox.take().await, Taken::Data(vec![b'x'; WAITING].into()));
        assert_eq!(inbox.take().await, Taken::End);
        assert_eq!(inbox.take().await, Taken::Nothing);
    }
}
