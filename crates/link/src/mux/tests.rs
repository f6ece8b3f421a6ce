use proptest::prelude::*;

use super::*;
use crate::frame::Kind;

const HELLO: &[u8] = b"hello";

fn pair() -> (Mux, Mux) {
    let (mut host, mut agent) = (Mux::new(Role::Host, HELLO), Mux::new(Role::Agent, HELLO));
    assert_eq!(carry(&mut host, &mut agent), [Event::Hello(Bytes::from_static(HELLO))]);
    assert_eq!(carry(&mut agent, &mut host), [Event::Hello(Bytes::from_static(HELLO))]);
    (host, agent)
}

fn output(mux: &mut Mux) -> BytesMut {
    let mut chunks = VecDeque::new();
    mux.transmit(&mut chunks);
    let bytes = BytesMut::from_iter(chunks.into_iter().flatten());
    mux.transmitted(bytes.len());
    bytes
}

fn carry(from: &mut Mux, to: &mut Mux) -> Vec<Event> {
    let mut events = Vec::new();
    to.receive(&mut output(from), &mut events).unwrap();
    events
}

/// A host that has greeted and has one stream open, number 1.
fn host_with_stream() -> Mux {
    let (mut host, mut agent) = pair();
    assert_eq!(host.open(b"request"), Some(1));
    carry(&mut host, &mut agent);
    host
}

fn frame(kind: u8, flags: u8, channel: u8, stream: u32, payload: &[u8]) -> BytesMut {
    let length = payload.len() as u32;
    let header = Header { length, kind: Kind::from_u8(kind), flags, channel, stream };
    BytesMut::from_iter(header.encode().into_iter().chain(payload.iter().copied()))
}

fn refused(mux: &mut Mux, mut bytes: BytesMut) -> Violation {
    mux.receive(&mut bytes, &mut Vec::new()).unwrap_err()
}

#[test]
fn a_request_and_its_answer() {
    let (mut host, mut agent) = pair();
    let id = host.open(b"request").unwrap();
    let opened = Event::Opened(id, Bytes::from_static(b"request"));
    assert_eq!(carry(&mut host, &mut agent), [opened]);
    agent.end(id, b"answer");
    assert_eq!(carry(&mut agent, &mut host), [Event::Writable(id), Event::Readable(id)]);
    assert_eq!(host.take(id), Some(Inbound::Message(Bytes::from_static(b"answer"))));
    assert_eq!(host.take(id), Some(Inbound::End));
    host.close(id);
    assert!(!host.has_output(), "a stream that has ended is not reset");
}

#[test]
fn what_is_closed_early_is_reset_and_late_frames_are_no_offence() {
    let (mut host, mut agent) = pair();
    let id = host.open(b"request").unwrap();
    carry(&mut host, &mut agent);
    host.close(id);
    agent.send_data(id, 0, Bytes::from_static(b"late"), false);
    assert_eq!(carry(&mut agent, &mut host), []);
    assert_eq!(carry(&mut host, &mut agent).last(), Some(&Event::Readable(id)));
    assert_eq!(agent.take(id), Some(Inbound::Reset));
}

#[test]
fn a_reader_that_stops_stops_the_writer() {
    let (mut host, mut agent) = pair();
    let id = host.open(b"").unwrap();
    carry(&mut host, &mut agent);
    let mut sent = 0;
    while agent.room(id).unwrap() > 0 {
        let part = agent.room(id).unwrap().min(10_000);
        sent += part;
        agent.send_data(id, 1, Bytes::from(vec![0; part]), false);
    }
    assert!(sent <= WINDOW as usize, "{sent} bytes were sent without a reader");
    carry(&mut agent, &mut host);
    while let Some(Inbound::Data { cost, .. }) = host.take(id) {
        host.release(id, cost);
    }
    assert!(carry(&mut host, &mut agent).contains(&Event::Writable(id)));
    assert!(agent.room(id).unwrap() > 100_000);
}

#[test]
fn tiny_frames_cost_what_they_take() {
    let (mut host, mut agent) = pair();
    let id = host.open(b"").unwrap();
    carry(&mut host, &mut agent);
    let mut count = 0;
    while agent.room(id).unwrap() > 0 {
        agent.send_data(id, 1, Bytes::from_static(b"x"), false);
        count += 1;
    }
    assert!(count <= WINDOW / FRAME_COST, "{count} frames wait in memory");
}

#[test]
fn frames_of_later_protocols_are_skipped() {
    let mut host = host_with_stream();
    let mut events = Vec::new();
    for kind in [16, 17, 200] {
        let mut bytes = frame(kind, 0xff, 9, 77, &[1; 1000]);
        host.receive(&mut bytes, &mut events).unwrap();
        assert!(bytes.is_empty());
    }
    assert_eq!(events, []);
}

#[test]
fn too_many_streams_are_refused_by_the_host_itself() {
    let (mut host, _) = pair();
    while host.open(b"").is_some() {}
    assert_eq!(host.ids().count(), MAX_STREAMS);
}

#[test]
fn something_that_is_no_agent_is_told_at_once() {
    let mut host = Mux::new(Role::Host, HELLO);
    assert_eq!(refused(&mut host, BytesMut::from("HTTP/1.1 400")), Violation::Preface);
    let mut host = Mux::new(Role::Host, HELLO);
    let mut bytes = BytesMut::from(&PREFACE[..]);
    bytes.extend_from_slice(&frame(3, 0, 0, 1, b""));
    assert_eq!(refused(&mut host, bytes), Violation::Greeting);
}

#[test]
fn every_broken_rule_has_its_name() {
    let long = Header { length: u32::MAX, kind: Kind::Data, flags: 0, channel: 0, stream: 1 };
    let fin = [frame(3, FLAG_FIN, 0, 1, b"x"), frame(3, 0, 0, 1, b"y")].concat();
    let flood = frame(4, 0, 0, 1, b"m").repeat(MAX_MESSAGES + 1);
    let overrun = frame(3, 0, 0, 1, &[0; 100_000]).repeat(3);
    let cases = [
        (BytesMut::from(&long.encode()[..]), Violation::TooLong(u32::MAX)),
        (frame(1, 0, 0, 0, b""), Violation::Greeting),
        (frame(3, 0, 0, 2, b"x"), Violation::NoSuchStream(2)),
        (frame(3, 0, 0, 0, b"x"), Violation::NoSuchStream(0)),
        (frame(3, 0, CHANNELS, 1, b"x"), Violation::Channel(1)),
        (BytesMut::from(&fin[..]), Violation::Channel(1)),
        (BytesMut::from(&flood[..]), Violation::Flood(1)),
        (BytesMut::from(&overrun[..]), Violation::Overrun(1)),
        (frame(5, 0, 0, 1, &u32::MAX.to_le_bytes()), Violation::Credit(1)),
        (frame(5, 0, 0, 1, b"x"), Violation::Malformed("credit")),
        (frame(2, 0, 0, 3, b""), Violation::Open),
        (frame(4, 0, 0, 1, &[0; MAX_MESSAGE + 1]), Violation::TooLong(MAX_MESSAGE as u32 + 1)),
    ];
    for (bytes, violation) in cases {
        assert_eq!(refused(&mut host_with_stream(), bytes), violation);
    }
}

/// What a peer may do, in any order.
#[derive(Debug, Clone)]
enum Act {
    Open,
    Data(prop::sample::Index, u8, usize, bool),
    Message(prop::sample::Index, usize),
    End(prop::sample::Index),
    Close(prop::sample::Index),
    Read(prop::sample::Index, usize),
}

fn acts() -> impl Strategy<Value = Vec<(bool, Act)>> {
    let act = prop_oneof![
        Just(Act::Open),
        (any::<prop::sample::Index>(), 0..CHANNELS, 0usize..100_000, prop::bool::weighted(0.1))
            .prop_map(|(s, c, n, f)| Act::Data(s, c, n, f)),
        (any::<prop::sample::Index>(), 0usize..100).prop_map(|(s, n)| Act::Message(s, n)),
        any::<prop::sample::Index>().prop_map(Act::End),
        any::<prop::sample::Index>().prop_map(Act::Close),
        (any::<prop::sample::Index>(), 1usize..10).prop_map(|(s, n)| Act::Read(s, n)),
    ];
    prop::collection::vec((any::<bool>(), act), 0..60)
}

/// An end, and which channels it has finished.
struct Actor {
    mux: Mux,
    finished: HashMap<u32, u8>,
}

impl Actor {
    fn new(mux: Mux) -> Self {
        Self { mux, finished: HashMap::new() }
    }

    fn pick(&self, index: &prop::sample::Index) -> Option<u32> {
        let mut ids: Vec<_> = self.mux.ids().collect();
        ids.sort_unstable();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    fn act(&mut self, role: Role, act: Act) {
        match act {
            Act::Open if role == Role::Host => drop(self.mux.open(b"r")),
            Act::Data(index, channel, length, fin) => self.send(&index, channel, length, fin),
            Act::Message(index, length) => {
                if let Some(id) = self.pick(&index) {
                    self.mux.send_message(id, &vec![2; length]);
                }
            }
            Act::End(index) if role == Role::Agent => {
                if let Some(id) = self.pick(&index) {
                    self.mux.end(id, b"end");
                }
            }
            Act::Close(index) => {
                if let Some(id) = self.pick(&index) {
                    self.mux.close(id);
                }
            }
            Act::Read(index, count) => {
                let Some(id) = self.pick(&index) else { return };
                for _ in 0..count {
                    if let Some(Inbound::Data { cost, .. }) = self.mux.take(id) {
                        self.mux.release(id, cost);
                    }
                }
            }
            Act::Open | Act::End(_) => {}
        }
    }

    fn send(&mut self, index: &prop::sample::Index, channel: u8, length: usize, fin: bool) {
        let Some(id) = self.pick(index) else { return };
        let Some(room) = self.mux.room(id) else { return };
        let finished = self.finished.entry(id).or_default();
        if *finished & 1 << channel != 0 || (room == 0 && !fin) {
            return;
        }
        *finished |= u8::from(fin) << channel;
        self.mux.send_data(id, channel, vec![1; length.min(room)].into(), fin);
    }
}

proptest! {
    /// Two honest ends never accuse each other, whatever they do and however the bytes are cut.
    #[test]
    fn honest_peers_understand_each_other(
        acts in acts(),
        cuts in prop::collection::vec(1usize..5000, 1..20),
    ) {
        let (host, agent) = pair();
        let (mut host, mut agent) = (Actor::new(host), Actor::new(agent));
        let mut cuts = cuts.into_iter().cycle();
        let (mut to_agent, mut to_host) = (BytesMut::new(), BytesMut::new());
        let (mut at_agent, mut at_host) = (BytesMut::new(), BytesMut::new());
        for (by_host, act) in acts {
            match by_host {
                true => host.act(Role::Host, act),
                false => agent.act(Role::Agent, act),
            }
            to_agent.unsplit(output(&mut host.mux));
            to_host.unsplit(output(&mut agent.mux));
            let cut = cuts.next().unwrap_or(1);
            at_agent.unsplit(to_agent.split_to(cut.min(to_agent.len())));
            at_host.unsplit(to_host.split_to(cut.min(to_host.len())));
            prop_assert_eq!(agent.mux.receive(&mut at_agent, &mut Vec::new()), Ok(()));
            let received = host.mux.receive(&mut at_host, &mut Vec::new());
            // Messages are counted, and these agents send as many as they like.
            prop_assert!(matches!(received, Ok(()) | Err(Violation::Flood(_))), "{received:?}");
        }
    }

    /// What is said does not depend on how it is cut into reads.
    #[test]
    fn cuts_change_nothing(
        parts in prop::collection::vec((1u8..3, 0usize..3000), 0..20),
        cut in 1usize..2000,
    ) {
        let (mut host, mut agent) = pair();
        let id = host.open(b"").unwrap();
        carry(&mut host, &mut agent);
        for (channel, length) in &parts {
            let bytes = vec![*channel; *length];
            agent.send_data(id, *channel, bytes.into(), false);
        }
        let all = output(&mut agent);
        let mut buffer = BytesMut::new();
        for piece in all.chunks(cut) {
            buffer.extend_from_slice(piece);
            host.receive(&mut buffer, &mut Vec::new()).unwrap();
        }
        for (channel, length) in parts {
            let Some(Inbound::Data { channel: c, bytes, .. }) = host.take(id) else { panic!() };
            prop_assert_eq!((c, bytes.len()), (channel, length));
        }
        prop_assert_eq!(host.take(id), None);
    }

    /// Whatever an agent sends, the host neither panics nor keeps more than it granted.
    #[test]
    fn garbage_is_survived_within_bounds(
        frames in prop::collection::vec(
            (0u8..9, any::<u8>(), 0u8..10, 0u32..4, prop::collection::vec(any::<u8>(), 0..300)),
            0..200,
        ),
        tail in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut host = host_with_stream();
        let mut buffer = BytesMut::new();
        for (kind, flags, channel, stream, payload) in frames {
            buffer.unsplit(frame(kind, flags, channel, stream, &payload));
        }
        buffer.extend_from_slice(&tail);
        // Most of this is refused early, which is the point.
        drop(host.receive(&mut buffer, &mut Vec::new()));
        prop_assert!(host.streams.len() <= 1);
        for stream in host.streams.values() {
            let waiting: usize = stream.inbox.iter().map(|inbound| match inbound {
                Inbound::Data { bytes, .. } | Inbound::Message(bytes) => bytes.len(),
                Inbound::End | Inbound::Reset => 0,
            }).sum();
            prop_assert!(waiting <= WINDOW as usize + MAX_MESSAGES * MAX_MESSAGE);
        }
    }
}
