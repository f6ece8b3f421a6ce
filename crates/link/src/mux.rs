//! The multiplexer as a state machine: bytes and requests in, bytes and events out. It performs no
//! I/O and reads no clock.
//!
//! It holds everything that must stay bounded when the peer is hostile: the length of frames, the
//! bytes that wait in each stream, the number of messages, the number of streams.
//!
//! **Credit.** Each side may send [`WINDOW`] bytes on a stream before it hears that the receiver
//! has consumed some. A data frame costs its payload and [`FRAME_COST`], so that many tiny frames
//! cannot take more memory than a few large ones. Messages cost nothing and are counted instead.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::frame::{FLAG_END, FLAG_FIN, HEADER, Header, Kind, MAX_PAYLOAD, PREFACE};

/// What each side may send on a new stream before it is granted more, in bytes.
pub const WINDOW: u32 = 256 * 1024;
/// What a data frame costs beyond its payload, in bytes.
pub const FRAME_COST: u32 = 64;
/// The most that a peer may hold in credit on one stream, in bytes.
const MAX_CREDIT: u32 = 64 * 1024 * 1024;
/// Consumed bytes are reported in steps of this many.
const CREDIT_STEP: u32 = WINDOW / 4;
/// Messages of an agent that may wait to be read on one stream.
const MAX_MESSAGES: usize = 64;
/// The longest control message, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Streams that one peer may have open at once.
pub const MAX_STREAMS: usize = 4096;
/// Channels of a stream.
const CHANNELS: u8 = 8;
/// Payloads up to this size are copied out of the read buffer, so that a few small ones that
/// nobody reads do not keep large buffers alive.
const COPY_UP_TO: usize = 32 * 1024;

/// Which end of the link this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opens streams.
    Host,
    /// Answers them.
    Agent,
}

/// How a peer broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The first bytes are not those of this protocol.
    #[error("it does not begin with the protocol's preface")]
    Preface,
    /// The first frame was no greeting, or a second greeting came.
    #[error("a greeting was expected first and once")]
    Greeting,
    /// A frame announced more than a frame may hold.
    #[error("a frame of {0} bytes was announced")]
    TooLong(u32),
    /// A stream that was never opened.
    #[error("a frame came for stream {0}, which was never opened")]
    NoSuchStream(u32),
    /// More data than the credit allowed.
    #[error("stream {0} sent more than it was granted")]
    Overrun(u32),
    /// More messages than may wait.
    #[error("stream {0} sent too many messages")]
    Flood(u32),
    /// More credit than makes sense.
    #[error("stream {0} granted more than {MAX_CREDIT} bytes")]
    Credit(u32),
    /// Data after the end of its channel, or on a channel that cannot be.
    #[error("stream {0} sent data on a channel that is not open")]
    Channel(u32),
    /// Only a host opens streams, each number once.
    #[error("a stream was opened that may not be")]
    Open,
    /// A payload that cannot be decoded.
    #[error("a message could not be decoded: {0}")]
    Malformed(&'static str),
}

/// What happened on the link as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer's greeting: an encoded `Hello`.
    Hello(Bytes),
    /// The peer opened a stream; the payload is an encoded `Open`.
    Opened(u32, Bytes),
    /// There is something to [`Mux::take`].
    Readable(u32),
    /// There is credit where there was none.
    Writable(u32),
    /// The peer leaves, and nothing is to be kept for it.
    Goodbye,
}

/// What came on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// Raw bytes.
    Data {
        /// Of which byte stream.
        channel: u8,
        /// The bytes; may be empty together with `fin`.
        bytes: Bytes,
        /// The last bytes of this channel.
        fin: bool,
        /// What to [`Mux::release`] once they are consumed.
        cost: u32,
    },
    /// A control message.
    Message(Bytes),
    /// The peer ended the stream in good order.
    End,
    /// The peer, or this side, gave the stream up.
    Reset,
}

#[derive(Debug)]
struct Stream {
    inbox: VecDeque<Inbound>,
    messages: usize,
    /// What the peer may still send.
    granted: u32,
    /// Consumed and not yet reported to the peer.
    consumed: u32,
    /// What this side may still send.
    credit: u32,
    /// Channels that the peer finished, one bit each.
    finished: u8,
    /// Nothing more comes, or goes.
    over: bool,
}

impl Stream {
    fn new() -> Self {
        Self {
            inbox: VecDeque::new(),
            messages: 0,
            granted: WINDOW,
            consumed: 0,
            credit: WINDOW,
            finished: 0,
            over: false,
        }
    }

    fn accept_data(&mut self, header: &Header, bytes: Bytes) -> Result<(), Violation> {
        let id = header.stream;
        let bit = 1u8 << (header.channel % CHANNELS);
        if header.channel >= CHANNELS || self.finished & bit != 0 {
            return Err(Violation::Channel(id));
        }
        let fin = header.flags & FLAG_FIN != 0;
        let cost = cost(bytes.len(), fin);
        self.granted = self.granted.checked_sub(cost).ok_or(Violation::Overrun(id))?;
        self.finished |= if fin { bit } else { 0 };
        self.inbox.push_back(Inbound::Data { channel: header.channel, bytes, fin, cost });
        Ok(())
    }

    fn accept_message(&mut self, id: u32, bytes: Bytes, role: Role) -> Result<(), Violation> {
        // A host is trusted, and a burst of resizes is no offence.
        if role == Role::Host && self.messages >= MAX_MESSAGES {
            return Err(Violation::Flood(id));
        }
        self.messages += 1;
        self.inbox.push_back(Inbound::Message(bytes));
        Ok(())
    }
}

/// What a data frame costs. The end of a channel alone is free: it comes once.
fn cost(length: usize, fin: bool) -> u32 {
    if length == 0 && fin { 0 } else { length as u32 + FRAME_COST }
}

/// One end of a link.
#[derive(Debug)]
pub struct Mux {
    role: Role,
    streams: HashMap<u32, Stream>,
    /// The host: the id of the next stream. The agent: one more than the highest id seen.
    next: u32,
    preface_seen: bool,
    greeted: bool,
    /// Payload of a frame of unknown kind that is still to be thrown away.
    skip: usize,
    out: VecDeque<Bytes>,
    out_bytes: usize,
}

impl Mux {
    /// A new end, which sends `hello` (an encoded `Hello`) first.
    #[must_use]
    pub fn new(role: Role, hello: &[u8]) -> Self {
        let mut mux = Self {
            role,
            streams: HashMap::new(),
            next: 1,
            preface_seen: false,
            greeted: false,
            skip: 0,
            out: VecDeque::new(),
            out_bytes: 0,
        };
        mux.push(Bytes::from_static(&PREFACE));
        mux.send(Kind::Hello, 0, 0, 0, hello);
        mux
    }

    /// Takes frames from the front of `buffer` and leaves what is not whole yet. After an error
    /// the link is beyond repair.
    pub fn receive(
        &mut self,
        buffer: &mut BytesMut,
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        self.receive_preface(buffer)?;
        while self.preface_seen {
            let skipped = self.skip.min(buffer.len());
            buffer.advance(skipped);
            self.skip -= skipped;
            let Some(header) = Header::decode(buffer) else { break };
            if header.length as usize > MAX_PAYLOAD {
                return Err(Violation::TooLong(header.length));
            }
            if matches!(header.kind, Kind::Unknown(_)) {
                buffer.advance(HEADER);
                self.skip = header.length as usize;
                continue;
            }
            let Some(payload) = take_payload(buffer, &header)? else { break };
            self.accept(&header, payload, events)?;
        }
        Ok(())
    }

    fn receive_preface(&mut self, buffer: &mut BytesMut) -> Result<(), Violation> {
        if self.preface_seen {
            return Ok(());
        }
        let seen = buffer.len().min(PREFACE.len());
        if buffer[..seen] != PREFACE[..seen] {
            return Err(Violation::Preface);
        }
        if seen == PREFACE.len() {
            buffer.advance(seen);
            self.preface_seen = true;
        }
        Ok(())
    }

    fn accept(
        &mut self,
        header: &Header,
        payload: Bytes,
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        if self.greeted == (header.kind == Kind::Hello) {
            return Err(Violation::Greeting);
        }
        match header.kind {
            Kind::Hello => {
                self.greeted = true;
                events.push(Event::Hello(payload));
            }
            Kind::Open => self.accept_open(header.stream, payload, events)?,
            Kind::Goodbye => events.push(Event::Goodbye),
            _ => self.accept_on_stream(header, payload, events)?,
        }
        Ok(())
    }

    fn accept_open(
        &mut self,
        id: u32,
        payload: Bytes,
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        if self.role == Role::Host || id < self.next {
            return Err(Violation::Open);
        }
        self.next = id.checked_add(1).ok_or(Violation::Open)?;
        if self.streams.len() >= MAX_STREAMS {
            self.send(Kind::Reset, id, 0, 0, &[]);
            return Ok(());
        }
        self.streams.insert(id, Stream::new());
        events.push(Event::Opened(id, payload));
        Ok(())
    }

    fn accept_on_stream(
        &mut self,
        header: &Header,
        payload: Bytes,
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        let id = header.stream;
        let Some(stream) = self.streams.get_mut(&id) else {
            // Frames that were under way when this side gave the stream up are no offence.
            return if id != 0 && id < self.next {
                Ok(())
            } else {
                Err(Violation::NoSuchStream(id))
            };
        };
        if stream.over {
            return Ok(());
        }
        match header.kind {
            Kind::Data => stream.accept_data(header, payload)?,
            Kind::Message => stream.accept_message(id, payload, self.role)?,
            Kind::Reset => {
                stream.over = true;
                stream.inbox.push_back(Inbound::Reset);
            }
            Kind::Credit => {
                let Some(more) = payload.first_chunk() else {
                    return Err(Violation::Malformed("credit"));
                };
                let credit = stream.credit.checked_add(u32::from_le_bytes(*more));
                stream.credit = credit.filter(|c| *c <= MAX_CREDIT).ok_or(Violation::Credit(id))?;
                events.push(Event::Writable(id));
                return Ok(());
            }
            _ => return Ok(()),
        }
        if header.flags & FLAG_END != 0 && self.role == Role::Host && !stream.over {
            stream.over = true;
            stream.inbox.push_back(Inbound::End);
        }
        if stream.over {
            events.push(Event::Writable(id));
        }
        events.push(Event::Readable(id));
        Ok(())
    }

    /// Opens a stream. `None` when there are too many, or every number was used.
    pub fn open(&mut self, request: &[u8]) -> Option<u32> {
        debug_assert_eq!(self.role, Role::Host);
        if self.streams.len() >= MAX_STREAMS || request.len() > MAX_PAYLOAD {
            return None;
        }
        let id = self.next;
        self.next = id.checked_add(1)?;
        self.streams.insert(id, Stream::new());
        self.send(Kind::Open, id, 0, 0, request);
        Some(id)
    }

    /// The next thing that came on a stream. After [`Inbound::End`] or [`Inbound::Reset`] nothing
    /// comes; they are given out again when asked again.
    pub fn take(&mut self, id: u32) -> Option<Inbound> {
        let Some(stream) = self.streams.get_mut(&id) else { return Some(Inbound::Reset) };
        if stream.over && stream.inbox.len() == 1 {
            return stream.inbox.front().cloned();
        }
        let inbound = stream.inbox.pop_front()?;
        if matches!(inbound, Inbound::Message(_)) {
            stream.messages -= 1;
        }
        Some(inbound)
    }

    /// `cost` bytes were consumed: the peer may send as many more.
    pub fn release(&mut self, id: u32, cost: u32) {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.over) else { return };
        stream.consumed += cost;
        if stream.consumed >= CREDIT_STEP {
            let more = std::mem::take(&mut stream.consumed);
            self.grant(id, more);
        }
    }

    /// Lets the peer have `more` bytes under way at once than it has now.
    pub fn grant(&mut self, id: u32, more: u32) {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.over) else { return };
        stream.granted += more;
        self.send(Kind::Credit, id, 0, 0, &more.to_le_bytes());
    }

    /// How long a payload may be sent now; `None` when the stream is over.
    #[must_use]
    pub fn room(&self, id: u32) -> Option<usize> {
        let stream = self.streams.get(&id).filter(|s| !s.over)?;
        Some((stream.credit.saturating_sub(FRAME_COST) as usize).min(MAX_PAYLOAD))
    }

    /// What this side may still send on a stream; 0 when it is over.
    #[must_use]
    pub fn credit(&self, id: u32) -> u32 {
        self.streams.get(&id).filter(|s| !s.over).map_or(0, |s| s.credit)
    }

    /// Sends bytes, at most as many as there is [`room`](Self::room) for, and says what they cost.
    /// A stream that is over swallows them.
    pub fn send_data(&mut self, id: u32, channel: u8, bytes: Bytes, fin: bool) -> u32 {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.over) else { return 0 };
        let cost = cost(bytes.len(), fin);
        debug_assert!(cost <= stream.credit && bytes.len() <= MAX_PAYLOAD);
        stream.credit -= cost;
        let flags = if fin { FLAG_FIN } else { 0 };
        if bytes.len() <= 1024 {
            self.send(Kind::Data, id, flags, channel, &bytes);
        } else {
            let header = header(bytes.len(), Kind::Data, id, flags, channel);
            self.push(Bytes::copy_from_slice(&header.encode()));
            self.push(bytes);
        }
        cost
    }

    /// Sends a control message.
    pub fn send_message(&mut self, id: u32, message: &[u8]) {
        if self.streams.get(&id).is_some_and(|s| !s.over) {
            self.send(Kind::Message, id, 0, 0, message);
        }
    }

    /// Ends a stream with a last message. Only the agent does.
    pub fn end(&mut self, id: u32, message: &[u8]) {
        debug_assert_eq!(self.role, Role::Agent);
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.over) {
            stream.over = true;
            stream.inbox.push_back(Inbound::End);
            self.send(Kind::Message, id, FLAG_END, 0, message);
        }
    }

    /// Forgets a stream; one that is not over is reset.
    pub fn close(&mut self, id: u32) {
        if self.streams.remove(&id).is_some_and(|s| !s.over) {
            self.send(Kind::Reset, id, 0, 0, &[]);
        }
    }

    /// Says that this side leaves and wants nothing kept.
    pub fn goodbye(&mut self) {
        self.send(Kind::Goodbye, 0, 0, 0, &[]);
    }

    /// Moves everything that is to be sent to the end of `out`.
    pub fn transmit(&mut self, out: &mut VecDeque<Bytes>) {
        out.append(&mut self.out);
    }

    /// `count` bytes of what was given out have been sent.
    pub fn transmitted(&mut self, count: usize) {
        self.out_bytes -= count;
    }

    /// Bytes that wait to be sent, including those given out and not reported as sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.out_bytes
    }

    /// Whether something waits to be given out.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// The ids of all open streams.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.streams.keys().copied()
    }

    fn send(&mut self, kind: Kind, id: u32, flags: u8, channel: u8, payload: &[u8]) {
        let mut frame = BytesMut::with_capacity(HEADER + payload.len());
        frame.put_slice(&header(payload.len(), kind, id, flags, channel).encode());
        frame.put_slice(payload);
        self.push(frame.freeze());
    }

    fn push(&mut self, bytes: Bytes) {
        self.out_bytes += bytes.len();
        self.out.push_back(bytes);
    }
}

fn header(length: usize, kind: Kind, stream: u32, flags: u8, channel: u8) -> Header {
    debug_assert!(length <= MAX_PAYLOAD);
    Header { length: length as u32, kind, flags, channel, stream }
}

/// The payload, once all of it is there.
fn take_payload(buffer: &mut BytesMut, header: &Header) -> Result<Option<Bytes>, Violation> {
    let length = header.length as usize;
    let control = !matches!(header.kind, Kind::Data | Kind::Open);
    if control && length > MAX_MESSAGE {
        return Err(Violation::TooLong(header.length));
    }
    if buffer.len() < HEADER + length {
        return Ok(None);
    }
    buffer.advance(HEADER);
    if length <= COPY_UP_TO {
        let payload = Bytes::copy_from_slice(&buffer[..length]);
        buffer.advance(length);
        return Ok(Some(payload));
    }
    Ok(Some(buffer.split_to(length).freeze()))
}

/// How many bytes are missing until the frame at the front of `buffer` is whole.
#[must_use]
pub fn missing(buffer: &[u8]) -> usize {
    match Header::decode(buffer) {
        Some(header) if header.length as usize <= MAX_PAYLOAD => {
            (HEADER + header.length as usize).saturating_sub(buffer.len())
        }
        _ => HEADER.saturating_sub(buffer.len()),
    }
}

#[cfg(test)]
mod tests;
