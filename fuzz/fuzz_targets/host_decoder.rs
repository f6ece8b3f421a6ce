//! What the host makes of the bytes of a hostile agent: no panic, and never more in memory than
//! was granted.

#![no_main]

use boxherd_link::frame::PREFACE;
use boxherd_link::mux::{Event, Inbound, MAX_MESSAGE, Mux, Role, WINDOW};
use boxherd_link::proto::{Hello, Reply};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// Messages of one stream that may wait, as the multiplexer has it, and then some.
const MESSAGES: usize = 100;

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let mut host = Mux::new(Role::Host, b"");
    let ids: Vec<u32> = (0..3).filter_map(|_| host.open(b"request")).collect();
    let (mut buffer, mut events) = (BytesMut::from(&PREFACE[..]), Vec::new());
    for piece in bytes.chunks(usize::from(cut) + 1) {
        buffer.extend_from_slice(piece);
        if host.receive(&mut buffer, &mut events).is_err() {
            return;
        }
        for event in events.drain(..) {
            if let Event::Hello(hello) = event {
                drop(Hello::decode(hello));
            }
        }
    }
    for id in ids {
        let (mut data, mut messages) = (0, 0);
        while let Some(inbound) = host.take(id) {
            match inbound {
                Inbound::Data { cost, .. } => data += cost,
                Inbound::Message(message) => {
                    assert!(message.len() <= MAX_MESSAGE);
                    messages += 1;
                    drop(Reply::decode(message));
                }
                Inbound::End | Inbound::Reset => break,
            }
        }
        assert!(data <= WINDOW && messages <= MESSAGES);
    }
});
