//! Frames of RFC 6455, as a client reads and writes them. No I/O.

use std::io;

use aws_lc_rs::rand;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// The largest payload that is read. LXD writes what it reads at once: some tens of KiB.
pub(crate) const MAX_PAYLOAD: usize = 16 << 20;

/// What a frame is (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const ALL: [(u8, Self); 6] = [
        (0x0, Self::Continuation),
        (0x1, Self::Text),
        (0x2, Self::Binary),
        (0x8, Self::Close),
        (0x9, Self::Ping),
        (0xa, Self::Pong),
    ];

    fn read(number: u8) -> io::Result<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == number);
        found.map(|(_, opcode)| *opcode).ok_or_else(|| invalid("a frame of no known kind"))
    }

    fn number(self) -> u8 {
        let found = Self::ALL.iter().find(|(_, opcode)| *opcode == self);
        found.expect("all are in the table").0
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Whether it is the last of its message.
    pub(crate) last: bool,
    pub(crate) opcode: Opcode,
    pub(crate) payload: Bytes,
}

impl Frame {
    /// A message of one frame.
    pub(crate) fn whole(opcode: Opcode, payload: Bytes) -> Self {
        Self { last: true, opcode, payload }
    }
}

/// The codec of a client: masks what it writes, refuses masks in what it reads.
#[derive(Debug)]
pub(crate) struct Codec {
    masks: Masks,
}

impl Codec {
    pub(crate) fn new() -> Self {
        Self { masks: Masks { bytes: [0; 256], used: 256 } }
    }
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        let Some(head) = Head::read(buffer)? else { return Ok(None) };
        let total = head.length + head.payload;
        if buffer.len() < total {
            buffer.reserve(total - buffer.len());
            return Ok(None);
        }
        buffer.advance(head.length);
        let payload = buffer.split_to(head.payload).freeze();
        Ok(Some(Frame { last: head.last, opcode: head.opcode, payload }))
    }
}

struct Head {
    last: bool,
    opcode: Opcode,
    /// Bytes of the head itself.
    length: usize,
    payload: usize,
}

impl Head {
    fn read(mut bytes: &[u8]) -> io::Result<Option<Self>> {
        let before = bytes.len();
        if before < 2 {
            return Ok(None);
        }
        let (first, second) = (bytes.get_u8(), bytes.get_u8());
        if first & 0x70 != 0 {
            return Err(invalid("a frame of an extension that was not agreed on"));
        }
        if second & 0x80 != 0 {
            return Err(invalid("a masked frame from a server"));
        }
        let payload = match second {
            126 if bytes.len() < 2 => return Ok(None),
            127 if bytes.len() < 8 => return Ok(None),
            126 => u64::from(bytes.get_u16()),
            127 => bytes.get_u64(),
            short => u64::from(short),
        };
        let payload = usize::try_from(payload).ok().filter(|length| *length <= MAX_PAYLOAD);
        let payload = payload.ok_or_else(|| invalid("a frame of more than 16 MiB"))?;
        let (last, opcode) = (first & 0x80 != 0, Opcode::read(first & 0x0f)?);
        Ok(Some(Self { last, opcode, length: before - bytes.len(), payload }))
    }
}

impl Encoder<Frame> for Codec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, buffer: &mut BytesMut) -> io::Result<()> {
        self.encode(&frame, buffer)
    }
}

impl Encoder<&Frame> for Codec {
    type Error = io::Error;

    fn encode(&mut self, frame: &Frame, buffer: &mut BytesMut) -> io::Result<()> {
        self.put(frame.last, frame.opcode, &frame.payload, buffer)
    }
}

/// Bytes for one binary frame; spares those who have a slice the making of a [`Frame`].
pub(crate) struct Binary<'bytes>(pub(crate) &'bytes [u8]);

impl Encoder<Binary<'_>> for Codec {
    type Error = io::Error;

    fn encode(&mut self, Binary(bytes): Binary<'_>, buffer: &mut BytesMut) -> io::Result<()> {
        self.put(true, Opcode::Binary, bytes, buffer)
    }
}

impl Codec {
    fn put(
        &mut self,
        last: bool,
        opcode: Opcode,
        payload: &[u8],
        buffer: &mut BytesMut,
    ) -> io::Result<()> {
        buffer.reserve(payload.len() + 14);
        buffer.put_u8(u8::from(last) << 7 | opcode.number());
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short), _) if short < 126 => buffer.put_u8(0x80 | short),
            (_, Ok(middle)) => {
                buffer.put_u8(0x80 | 126);
                buffer.put_u16(middle);
            }
            _ => {
                buffer.put_u8(0x80 | 127);
                buffer.put_u64(payload.len() as u64);
            }
        }
        let mask = self.masks.next()?;
        buffer.put_slice(&mask);
        let start = buffer.len();
        buffer.put_slice(payload);
        apply(mask, &mut buffer[start..]);
        Ok(())
    }
}

/// Random masks, drawn 64 at a time.
#[derive(Debug)]
struct Masks {
    bytes: [u8; 256],
    used: usize,
}

impl Masks {
    fn next(&mut self) -> io::Result<[u8; 4]> {
        if self.used == self.bytes.len() {
            rand::fill(&mut self.bytes).map_err(|_| io::Error::other("no random bytes"))?;
            self.used = 0;
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.bytes[self.used..self.used + 4]);
        self.used += 4;
        Ok(mask)
    }
}

/// RFC 6455, 5.3, eight bytes at a time.
fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server would write: the same frame without its mask.
    fn unmasked(frame: &Frame) -> BytesMut {
        let mut bytes = BytesMut::new();
        Codec::new().encode(frame, &mut bytes).unwrap();
        let payload = frame.payload.len();
        let head = bytes.len() - payload;
        let mask: [u8; 4] = bytes[head - 4..head].try_into().unwrap();
        apply(mask, &mut bytes[head..]);
        let mut plain = BytesMut::from(&bytes[..head - 4]);
        plain[1] &= 0x7f;
        plain.extend_from_slice(&bytes[head..]);
        plain
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let opcodes = prop::sample::select(Opcode::ALL.map(|(_, opcode)| opcode).to_vec());
        let lengths = prop_oneof![0..300_usize, 65_530..65_545_usize];
        (any::<bool>(), opcodes, lengths, any::<u8>()).prop_map(|(last, opcode, length, seed)| {
            let byte = |n: usize| (n as u8).wrapping_mul(31) ^ seed;
            Frame { last, opcode, payload: (0..length).map(byte).collect() }
        })
    }

    proptest! {
        #[test]
        fn frames_are_read_however_they_are_cut(
            frames in prop::collection::vec(frames(), 1..4),
            cuts in prop::collection::vec(1..70_000_usize, 1..6),
        ) {
            let sent: BytesMut = frames.iter().flat_map(unmasked).collect();
            let (mut rest, mut buffer) = (sent.freeze(), BytesMut::new());
            let (mut codec, mut read) = (Codec::new(), Vec::new());
            for cut in cuts.iter().cycle() {
                let piece = rest.split_to((*cut).min(rest.len()));
                buffer.extend_from_slice(&piece);
                while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                    read.push(frame);
                }
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn garbage_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Codec::new().decode(&mut buffer) {}
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        for bytes in [&[0x82, 0x81, 0, 0, 0, 0, 1][..], &[0xc2, 0x00], &[0x83, 0x00]] {
            assert!(Codec::new().decode(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
        let mut huge = BytesMut::from(&[0x82, 127][..]);
        huge.put_u64(MAX_PAYLOAD as u64 + 1);
        assert!(Codec::new().decode(&mut huge).is_err());
    }
}
