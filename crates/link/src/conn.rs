//! The multiplexer on tokio: one task drives the byte stream, and handles of streams talk to it
//! through shared memory.
//!
//! Two locks, always taken in this order and never held across an await: `io` (the byte stream)
//! and `state` (the multiplexer and who waits for what). Whoever has something to send tries to
//! write it itself, which saves waking the driver; when the driver has the byte stream just then,
//! it is told to look again.

mod driver;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::stream::Stream;
pub use crate::mux::{Inbound, Role};

use crate::mux::Mux;
use crate::{LinkError, channel, proto, window};

/// Writers wait while this much is still to be sent, in bytes, so that many streams do not add up
/// to many windows of memory.
const HIGH_WATER: usize = 1024 * 1024;
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One end of a link. Cheap to clone. When the last clone and the last stream of it are gone, a
/// host says goodbye and the link ends.
#[derive(Clone)]
pub struct Conn {
    shared: Arc<Handle>,
}

/// What clones and streams share; the driver does not, so that it notices when they are gone.
struct Handle(Arc<Shared>);

/// No time has been measured yet.
const UNKNOWN: u64 = u64::MAX;

impl std::ops::Deref for Handle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.role == Role::Host && state.ended.is_none() && !state.leaving {
            state.mux.goodbye();
        }
        state.leaving = true;
        wake(&mut state.driver);
    }
}

struct Shared {
    io: Mutex<Pipe>,
    state: Mutex<State>,
    /// The shortest time that an answer took, in microseconds.
    round_trip: AtomicU64,
}

impl Shared {
    fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(UNKNOWN);
        self.round_trip.fetch_min(micros, Ordering::Relaxed);
    }

    fn bulk_window(&self, most: u32) -> u32 {
        let micros = self.round_trip.load(Ordering::Relaxed);
        window::of_round_trip((micros != UNKNOWN).then(|| Duration::from_micros(micros)), most)
    }
}

/// The byte stream and what is on its way through it.
struct Pipe {
    /// `None` once the link has ended.
    stream: Option<Box<dyn Io>>,
    incoming: BytesMut,
    read_size: usize,
    outgoing: VecDeque<Bytes>,
}

struct State {
    role: Role,
    mux: Mux,
    waiting: HashMap<u32, Waiting>,
    opened: VecDeque<(u32, Bytes)>,
    /// The peer's greeting.
    hello: Option<Arc<proto::Hello>>,
    goodbye: bool,
    /// Ends in good order once everything has been sent.
    leaving: bool,
    ended: Option<LinkError>,
    driver: Option<Waker>,
    /// Those who wait for the greeting, an opened stream, room to write, or the end.
    watchers: Vec<Waker>,
}

#[derive(Default)]
struct Waiting {
    recv: Option<Waker>,
    send: Vec<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn wake_all(wakers: &mut Vec<Waker>) {
    for waker in wakers.drain(..) {
        waker.wake();
    }
}

fn watch(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|w| w.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

impl Conn {
    /// Greets the peer, and does not wait for its greeting: what is asked for meanwhile goes out behind
    /// ours. A peer that is silent for `timeout` has lost the link. Must be called within a tokio
    /// runtime, on which the driver is spawned.
    pub fn begin(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        role: Role,
        hello: &proto::Hello,
        timeout: Duration,
    ) -> Self {
        let shared = Arc::new(Shared::new(Box::new(stream), role, hello));
        tokio::spawn(driver::drive(Arc::clone(&shared), timeout));
        Self { shared: Arc::new(Handle(shared)) }
    }

    /// Greets the peer and returns once it has greeted back. See [`begin`](Self::begin).
    pub async fn open(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        role: Role,
        hello: &proto::Hello,
        timeout: Duration,
    ) -> Result<(Self, Arc<proto::Hello>), LinkError> {
        let conn = Self::begin(stream, role, hello, timeout);
        let theirs = conn.greeting().await?;
        Ok((conn, theirs))
    }

    /// Waits for the peer's greeting.
    pub async fn greeting(&self) -> Result<Arc<proto::Hello>, LinkError> {
        self.shared.greeting().await
    }

    /// Opens a stream with a request. Host only.
    pub fn request(&self, request: proto::Request) -> Result<Stream, LinkError> {
        self.ask(request, false)
    }

    /// The same for what has no input, whose end goes along in one write. Host only.
    pub fn request_at_end(&self, request: proto::Request) -> Result<Stream, LinkError> {
        self.ask(request, true)
    }

    fn ask(&self, request: proto::Request, at_end: bool) -> Result<Stream, LinkError> {
        let open = proto::Open { request: Some(request) }.encode_to_vec();
        let id = {
            let mut state = lock(&self.shared.state);
            if let Some(error) = &state.ended {
                return Err(error.clone());
            }
            let id = state.mux.open(&open).ok_or_else(|| LinkError::Refused {
                message: "too many requests are under way, or one is too long".to_owned(),
            })?;
            if at_end {
                state.mux.send_data(id, channel::MAIN, Bytes::new(), true);
            }
            id
        };
        let stream = Stream::new(&self.shared, id);
        self.shared.flush();
        Ok(stream)
    }

    /// The next stream that the peer opened, with its encoded `Open`; `None` when the peer said
    /// goodbye. Agent only.
    pub async fn accept(&self) -> Result<Option<(Stream, Bytes)>, LinkError> {
        let next = poll_fn(|cx| {
            let mut state = lock(&self.shared.state);
            if let Some(opened) = state.opened.pop_front() {
                return Poll::Ready(Ok(Some(opened)));
            }
            if state.goodbye {
                return Poll::Ready(Ok(None));
            }
            if let Some(error) = &state.ended {
                return Poll::Ready(Err(error.clone()));
            }
            watch(&mut state.watchers, cx);
            Poll::Pending
        });
        Ok(next.await?.map(|(id, open)| (Stream::new(&self.shared, id), open)))
    }

    /// An answer took that long, which no round trip is longer than.
    pub fn took(&self, time: Duration) {
        self.shared.took(time);
    }

    /// Waits until the link has ended and says why.
    pub async fn closed(&self) -> LinkError {
        poll_fn(|cx| {
            let mut state = lock(&self.shared.state);
            if let Some(error) = &state.ended {
                return Poll::Ready(error.clone());
            }
            watch(&mut state.watchers, cx);
            Poll::Pending
        })
        .await
    }

    /// Says goodbye, waits until that and everything before it has been sent, and ends the link.
    /// The agent ends every command that was not detached.
    pub async fn close(&self) {
        {
            let mut state = lock(&self.shared.state);
            state.mux.goodbye();
            state.leaving = true;
            wake(&mut state.driver);
        }
        self.closed().await;
    }

    /// Ends the link at once, without a word: to the agent it is lost.
    pub fn abort(&self, error: LinkError) {
        lock(&self.shared.state).finish(error);
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("ended", &lock(&self.shared.state).ended).finish()
    }
}
