//! What is sent to a command that outlives its call, over one call after another.
//!
//! The server says how much input was passed on, and we say how much output has arrived. Neither waits for
//! the other: the input that is under way fits into what a server takes at once ([`WINDOW`]), so that
//! acknowledgements always get through.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use boxherd_boxd_api::{BoxherdExec, ExecChunk};
use bytes::Bytes;
use futures_util::{Stream, stream};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::uplink::Closed;

/// Bytes of input that may be under way.
const WINDOW: u64 = 1024 * 1024;
/// Bytes of input in one message.
const PIECE: usize = 64 * 1024;
/// Bytes of input that a server has passed on and that are kept for the next one: what fits between the
/// server and the command.
const SPARE: u64 = 1024 * 1024;

/// What is sent to a command, over one call after another.
#[derive(Debug, Clone)]
pub(crate) struct Tape(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    input: mpsc::Receiver<ExecChunk>,
    /// Input that was taken from there, and may have to be sent again.
    kept: VecDeque<Bytes>,
    /// Where `kept` begins, in bytes from the start of the input.
    begins: u64,
    /// Where it ends, which is how much input there was.
    ends: u64,
    /// How much the server has passed on.
    taken: u64,
    /// There is no more input.
    ended: bool,
    /// The server knows of none of this: the command ends with its first call.
    plain: bool,
    /// What has arrived here, and not been said.
    arrived: Option<BoxherdExec>,
    waker: Option<std::task::Waker>,
}

/// A call, as far as it got.
struct Reel {
    tape: Tape,
    closed: Closed,
    /// Where input goes on; known when the server has answered.
    from: Option<oneshot::Receiver<Start>>,
    next: u64,
    end_told: bool,
}

/// What a server made of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The command has so much input, and is kept.
    From(u64),
    /// The command ends with the call.
    Plain,
}

impl Tape {
    pub(crate) fn new(input: mpsc::Receiver<ExecChunk>) -> Self {
        Self(Arc::new(Mutex::new(State {
            input,
            kept: VecDeque::new(),
            begins: 0,
            ends: 0,
            taken: 0,
            ended: false,
            plain: false,
            arrived: None,
            waker: None,
        })))
    }

    /// Says something to the server with the next message, in this call or the next.
    pub(crate) fn say(&self, ours: BoxherdExec) {
        let mut state = self.0.lock();
        let told = state.arrived.get_or_insert_default();
        told.stdout = told.stdout.max(ours.stdout);
        told.stderr = told.stderr.max(ours.stderr);
        told.done |= ours.done;
        if ours.signal != 0 {
            told.signal = ours.signal;
        }
        state.wake();
    }

    /// Goes on where the server says. `false` when what it wants is not there any more.
    pub(crate) fn wind(&self, start: Start) -> bool {
        let mut state = self.0.lock();
        match start {
            Start::Plain => state.plain = true,
            Start::From(stdin) => state.taken = stdin,
        }
        start == Start::Plain || state.begins <= state.taken
    }

    /// So much input was passed on.
    pub(crate) fn taken(&self, stdin: u64) {
        let mut state = self.0.lock();
        state.taken = state.taken.max(stdin);
        while let Some(first) = state.kept.front() {
            let length = first.len() as u64;
            if state.begins + length + SPARE > state.taken {
                break;
            }
            state.kept.pop_front();
            state.begins += length;
        }
        state.wake();
    }

    /// What is sent in a call: `first`, then input from where the server says.
    pub(crate) fn frames(
        &self,
        first: ExecChunk,
        from: oneshot::Receiver<Start>,
        closed: Closed,
    ) -> impl Stream<Item = ExecChunk> + Send + 'static + use<> {
        let reel = Reel { tape: self.clone(), closed, from: Some(from), next: 0, end_told: false };
        stream::unfold((Some(first), reel), |(first, mut reel)| async {
            let frame = match first {
                Some(first) => first,
                None => poll_fn(|cx| reel.poll(cx)).await?,
            };
            Some((frame, (None, reel)))
        })
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// How far input may be sent, in bytes from its start.
    fn limit(&self) -> u64 {
        WINDOW + if self.plain { self.begins } else { self.taken }
    }

    /// Takes more input, if there is some and room for it. Answers what is to be sent as it is.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Option<ExecChunk> {
        while !self.ended && self.ends < self.limit() {
            match self.input.poll_recv(cx) {
                Poll::Ready(Some(chunk)) if chunk.window_change => return Some(chunk),
                Poll::Ready(Some(ExecChunk { mut data, .. })) => {
                    self.ends += data.len() as u64;
                    while !data.is_empty() {
                        let piece = data.split_to(data.len().min(PIECE));
                        self.kept.push_back(piece);
                    }
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        None
    }

    /// The input from byte `at` on, as far as it is in one piece.
    fn piece(&self, at: u64) -> Option<Bytes> {
        let mut begins = self.begins;
        for piece in &self.kept {
            let ends = begins + piece.len() as u64;
            if at < ends {
                let skipped = usize::try_from(at.checked_sub(begins)?).ok()?;
                return Some(piece.slice(skipped..));
            }
            begins = ends;
        }
        None
    }
}

impl Reel {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<ExecChunk>> {
        if self.closed.poll(cx) {
            return Poll::Ready(None);
        }
        if let Some(from) = &mut self.from {
            match Pin::new(from).poll(cx) {
                Poll::Ready(Ok(Start::From(next))) => (self.from, self.next) = (None, next),
                Poll::Ready(Ok(Start::Plain)) => self.from = None,
                // The server was not reached, or does not go on with it.
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        let mut state = self.tape.0.lock();
        if !state.plain
            && let Some(ours) = state.arrived.take()
        {
            return Poll::Ready(Some(ExecChunk { boxherd: Some(ours), ..ExecChunk::default() }));
        }
        if let Some(chunk) = state.poll_input(cx) {
            return Poll::Ready(Some(chunk));
        }
        if self.next < state.limit()
            && let Some(data) = state.piece(self.next)
        {
            self.next += data.len() as u64;
            if state.plain {
                state.kept.pop_front();
                state.begins = self.next;
            }
            return Poll::Ready(Some(ExecChunk { data, stdin: true, ..ExecChunk::default() }));
        }
        if state.ended && self.next == state.ends && state.plain {
            return Poll::Ready(None);
        }
        if state.ended && self.next == state.ends && !self.end_told {
            self.end_told = true;
            let ours = BoxherdExec { input_ended: true, ..BoxherdExec::default() };
            return Poll::Ready(Some(ExecChunk { boxherd: Some(ours), ..ExecChunk::default() }));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::uplink::Open;

    /// A call of `tape` that the server has answered with `start`, behind its first frame.
    fn call(tape: &Tape, start: Start) -> (Open, Pin<Box<dyn Stream<Item = ExecChunk>>>) {
        let (told, from) = oneshot::channel();
        let (open, closed) = Open::new();
        let mut frames = Box::pin(tape.frames(ExecChunk::default(), from, closed));
        assert_eq!(frames.next().now_or_never().unwrap(), Some(ExecChunk::default()));
        assert!(tape.wind(start));
        told.send(start).unwrap();
        (open, frames)
    }

    /// How what is sent stands.
    #[derive(Debug, PartialEq, Eq)]
    enum Stands {
        StillOpen,
        EndSaid,
        CallEnded,
    }
    use Stands::{CallEnded, EndSaid, StillOpen};

    /// The input that is sent without waiting.
    fn sent(frames: &mut (impl Stream<Item = ExecChunk> + Unpin)) -> (Vec<u8>, Stands) {
        let mut data = Vec::new();
        while let Some(frame) = frames.next().now_or_never() {
            match frame {
                Some(frame) if frame.boxherd.as_ref().is_some_and(|ours| ours.input_ended) => {
                    return (data, EndSaid);
                }
                Some(frame) => data.extend_from_slice(&frame.data),
                None => return (data, CallEnded),
            }
        }
        (data, StillOpen)
    }

    fn input(data: &[u8]) -> ExecChunk {
        ExecChunk { data: data.to_vec().into(), stdin: true, ..ExecChunk::default() }
    }

    #[test]
    fn input_goes_on_where_the_server_says() {
        let (sender, receiver) = mpsc::channel(4);
        let tape = Tape::new(receiver);
        let (_open, mut frames) = call(&tape, Start::From(0));
        sender.try_send(input(b"hello ")).unwrap();
        assert_eq!(sent(&mut frames), (b"hello ".to_vec(), StillOpen));
        drop(frames);
        sender.try_send(input(b"world")).unwrap();
        drop(sender);
        let (_open, mut frames) = call(&tape, Start::From(3));
        assert_eq!(sent(&mut frames), (b"lo world".to_vec(), EndSaid));
        // The end is said again, too.
        let (_open, mut frames) = call(&tape, Start::From(11));
        assert_eq!(sent(&mut frames), (Vec::new(), EndSaid));
    }

    #[test]
    fn no_more_is_under_way_than_was_agreed_and_what_was_said_overtakes_it() {
        let (sender, receiver) = mpsc::channel(4);
        let tape = Tape::new(receiver);
        let (_open, mut frames) = call(&tape, Start::From(0));
        for _ in 0..3 {
            sender.try_send(input(&vec![0; WINDOW as usize])).unwrap();
        }
        let first = sent(&mut frames).0.len() as u64;
        assert!((WINDOW..WINDOW + PIECE as u64).contains(&first), "{first}");
        tape.say(BoxherdExec { stdout: 5, ..BoxherdExec::default() });
        let told = frames.next().now_or_never().unwrap().unwrap().boxherd.unwrap();
        assert_eq!(told.stdout, 5);
        tape.taken(WINDOW);
        assert_eq!(sent(&mut frames).0.len() as u64, WINDOW);
        // What was passed on is kept for a while, and not for ever.
        tape.taken(2 * WINDOW);
        assert!(tape.wind(Start::From(WINDOW)));
        assert!(!tape.wind(Start::From(WINDOW - PIECE as u64 - 1)));
    }

    #[test]
    fn a_server_that_knows_nothing_of_it_is_sent_input_and_its_end() {
        let (sender, receiver) = mpsc::channel(4);
        let tape = Tape::new(receiver);
        let (_open, mut frames) = call(&tape, Start::Plain);
        tape.say(BoxherdExec { stdout: 5, ..BoxherdExec::default() });
        for _ in 0..3 {
            sender.try_send(input(&vec![1; WINDOW as usize])).unwrap();
        }
        drop(sender);
        let (data, stands) = sent(&mut frames);
        assert_eq!((data.len() as u64, stands), (3 * WINDOW, CallEnded));
    }
}
