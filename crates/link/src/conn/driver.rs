//! Moving bytes: what the driver's task does, and what senders do for it.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, TryLockError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::{HIGH_WATER, Io, Pipe, Role, Shared, State, UNKNOWN, lock, wake, wake_all, watch};
use crate::mux::{self, Event, Mux};
use crate::{LinkError, proto};

/// Slices per `writev`.
const SLICES: usize = 32;
/// The smallest room offered to a read, in bytes.
const READ_MIN: usize = 8 * 1024;
/// The largest, beyond what a frame that has begun still misses, in bytes.
const READ_MAX: usize = 64 * 1024;
/// Reads before other tasks get their turn.
const READS_PER_TURN: usize = 16;

impl Shared {
    pub(super) fn new(stream: Box<dyn Io>, role: Role, hello: &proto::Hello) -> Self {
        let pipe = Pipe {
            stream: Some(stream),
            incoming: BytesMut::new(),
            read_size: READ_MIN,
            outgoing: VecDeque::new(),
        };
        let state = State {
            role,
            mux: Mux::new(role, &hello.encode_to_vec()),
            waiting: HashMap::new(),
            opened: VecDeque::new(),
            hello: None,
            goodbye: false,
            leaving: false,
            ended: None,
            driver: None,
            watchers: Vec::new(),
        };
        let round_trip = AtomicU64::new(UNKNOWN);
        Self { io: Mutex::new(pipe), state: Mutex::new(state), round_trip }
    }

    /// Waits for the peer's greeting.
    pub(super) async fn greeting(&self) -> Result<Arc<proto::Hello>, LinkError> {
        poll_fn(|cx| {
            let mut state = lock(&self.state);
            if let Some(hello) = &state.hello {
                return Poll::Ready(Ok(Arc::clone(hello)));
            }
            if let Some(error) = &state.ended {
                return Poll::Ready(Err(error.clone()));
            }
            watch(&mut state.watchers, cx);
            Poll::Pending
        })
        .await
    }

    /// Sends what waits, as far as the byte stream takes it now; the driver does the rest.
    pub(super) fn flush(&self) {
        let driver = lock(&self.state).driver.clone();
        // Without a waker the driver has not looked yet, or is about to look again.
        let Some(driver) = driver else { return };
        let mut io = match self.io.try_lock() {
            Ok(io) => io,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return driver.wake(),
        };
        // The driver is whom the byte stream wakes when it takes more.
        let result = self.poll_write(&mut io, &mut Context::from_waker(&driver));
        if let Poll::Ready(Err(error)) = result {
            lock(&self.state).finish(LinkError::lost(&error));
        }
    }

    fn poll_write(&self, io: &mut Pipe, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Pipe { stream: Some(stream), outgoing, .. } = io else { return Poll::Ready(Ok(())) };
        loop {
            lock(&self.state).mux.transmit(outgoing);
            if outgoing.is_empty() {
                return Pin::new(stream).poll_flush(cx);
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(outgoing.iter()) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            advance(outgoing, written);
            lock(&self.state).transmitted(written);
        }
    }

    fn poll_drive(&self, cx: &mut Context<'_>) -> Poll<LinkError> {
        {
            let mut state = lock(&self.state);
            state.driver = Some(cx.waker().clone());
            if let Some(error) = &state.ended {
                return Poll::Ready(error.clone());
            }
        }
        let mut io = lock(&self.io);
        for _ in 0..READS_PER_TURN {
            if let Poll::Ready(Err(error)) = self.poll_write(&mut io, cx) {
                return Poll::Ready(LinkError::lost(&error));
            }
            let state = lock(&self.state);
            if state.leaving && state.mux.waiting() == 0 {
                return Poll::Ready(LinkError::Closed);
            }
            drop(state);
            match ready!(io.poll_read(cx)) {
                Ok(0) => return Poll::Ready(LinkError::lost(&io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Poll::Ready(LinkError::lost(&error)),
            }
            if let Err(violation) = lock(&self.state).receive(&mut io.incoming) {
                return Poll::Ready(LinkError::Protocol(violation));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Runs until the link ends, then closes the byte stream.
pub(super) async fn drive(shared: Arc<Shared>, patience: Duration) {
    let error = tokio::select! {
        error = poll_fn(|cx| shared.poll_drive(cx)) => error,
        Err(_) = tokio::time::timeout(patience, shared.greeting()) => {
            LinkError::Silent { after: patience }
        }
    };
    lock(&shared.state).finish(error);
    lock(&shared.io).stream = None;
}

impl Pipe {
    /// Reads once, into a buffer that has room for the rest of the frame that has begun.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(0)) };
        let want = mux::missing(&self.incoming).max(self.read_size);
        self.incoming.reserve(want);
        let room = self.incoming.capacity() - self.incoming.len();
        let polled = pin!(stream.read_buf(&mut self.incoming)).poll(cx);
        match &polled {
            Poll::Ready(Ok(count)) if *count == room => {
                self.read_size = (self.read_size * 2).min(READ_MAX);
            }
            Poll::Ready(_) => {}
            Poll::Pending if self.incoming.is_empty() => {
                // An idle link keeps no buffer.
                self.incoming = BytesMut::new();
                self.read_size = READ_MIN;
            }
            Poll::Pending => {}
        }
        polled
    }
}

impl State {
    /// Ends the link, once, and wakes everyone who waits on it.
    pub(super) fn finish(&mut self, error: LinkError) {
        self.ended.get_or_insert(error);
        wake(&mut self.driver);
        wake_all(&mut self.watchers);
        for waiting in self.waiting.values_mut() {
            wake(&mut waiting.recv);
            wake_all(&mut waiting.send);
        }
    }

    fn transmitted(&mut self, count: usize) {
        self.mux.transmitted(count);
        if self.mux.waiting() < HIGH_WATER {
            wake_all(&mut self.watchers);
        }
    }

    fn receive(&mut self, incoming: &mut BytesMut) -> Result<(), mux::Violation> {
        let mut events = Vec::new();
        let result = self.mux.receive(incoming, &mut events);
        for event in events {
            self.dispatch(event);
        }
        result
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Hello(bytes) => match greeting(&bytes) {
                Ok(hello) => {
                    self.hello = Some(hello.into());
                    wake_all(&mut self.watchers);
                }
                Err(error) => self.finish(error),
            },
            Event::Opened(id, open) => {
                self.opened.push_back((id, open));
                wake_all(&mut self.watchers);
            }
            Event::Goodbye => {
                // Before the end of the stream is seen, which alone would be a lost link.
                self.goodbye = true;
                self.finish(LinkError::Closed);
            }
            Event::Readable(id) => {
                if let Some(waiting) = self.waiting.get_mut(&id) {
                    wake(&mut waiting.recv);
                }
            }
            Event::Writable(id) => {
                if let Some(waiting) = self.waiting.get_mut(&id) {
                    wake_all(&mut waiting.send);
                }
            }
        }
    }
}

fn greeting(bytes: &[u8]) -> Result<proto::Hello, LinkError> {
    let hello = proto::Hello::decode(bytes)
        .map_err(|_| LinkError::Protocol(mux::Violation::Malformed("greeting")))?;
    if hello.protocol < proto::OLDEST_PROTOCOL || hello.oldest_protocol > proto::PROTOCOL {
        let (theirs, ours) = (hello.protocol, proto::OLDEST_PROTOCOL);
        return Err(LinkError::Version { theirs, ours });
    }
    Ok(hello)
}

fn advance(outgoing: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = outgoing.front_mut() {
        if written < front.len() {
            return front.advance(written);
        }
        written -= front.len();
        outgoing.pop_front();
    }
}
