//! The console: a file of fixed size inside the box's quota, which the agent writes in circles and
//! the host reads with a cap.
//!
//! ```text
//!  0         8      16        24    32            64
//!  | magic   | size | reserve | end | zero        | ring, `size` bytes
//! ```
//!
//! Numbers are little-endian. Byte `n` since the box was made is at `64 + n % size`. The writer
//! sets `reserve` to where the bytes will end, writes them, then sets `end`; so a reader that
//! looks at `reserve` again after it has read knows what was overwritten meanwhile. Pure, but for
//! the closures that read and write the file.

use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Bytes before the ring.
pub const HEADER: u64 = 64;
/// Size of a ring unless configured otherwise, in bytes.
pub const DEFAULT_SIZE: u64 = 1024 * 1024;
/// The largest ring a reader believes in, in bytes.
pub const MAX_SIZE: u64 = 64 * 1024 * 1024;
const MAGIC: [u8; 8] = *b"bxring\0\x01";
/// Bytes of the header that carry something.
const USED: usize = 32;

/// The header of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Size of the ring, in bytes.
    pub size: u64,
    /// Where the bytes that are being written will end.
    pub reserve: u64,
    /// Where the bytes that are there end, since the box was made.
    pub end: u64,
}

/// A piece of a console.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The offset of the first byte of `data`, since the box was made.
    pub start: u64,
    /// What was written there.
    pub data: Bytes,
    /// Where what is there ended when this was read, by the box's account.
    pub end: u64,
}

impl Header {
    /// The header of an empty ring.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { size: size.clamp(1, MAX_SIZE), reserve: 0, end: 0 }
    }

    /// The header as it stands at the start of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; USED] {
        let mut bytes = [0; USED];
        let fields = [MAGIC, self.size.to_le_bytes(), self.reserve.to_le_bytes()];
        for (slot, field) in bytes.chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field);
        }
        bytes[24..].copy_from_slice(&self.end.to_le_bytes());
        bytes
    }

    /// Reads a header that anyone may have written; `None` when it makes no sense.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let field = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let header = Self { size: field(8)?, reserve: field(16)?, end: field(24)? };
        let sane = (1..=MAX_SIZE).contains(&header.size) && header.reserve >= header.end;
        sane.then_some(header)
    }

    /// The oldest byte that is whole.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.reserve.saturating_sub(self.size).min(self.end)
    }

    /// Where in the file the bytes `from..to` are, in order; at most two pieces. `to - from` must
    /// not exceed the size of the ring.
    #[must_use]
    pub fn places(&self, from: u64, to: u64) -> [Range<u64>; 2] {
        let length = (to - from).min(self.size);
        let at = from % self.size;
        let first = length.min(self.size - at);
        [HEADER + at..HEADER + at + first, HEADER..HEADER + length - first]
    }
}

/// Reads what is there from byte `from` on, at most `max` bytes, through `read_at(offset, buffer)`,
/// which returns how much it read. The content is the box's: anything may stand in it. A file that
/// is no ring, or one that was cut short, reads as empty.
pub fn read(
    mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<usize>,
    from: u64,
    max: usize,
) -> io::Result<Chunk> {
    let mut raw = [0; USED];
    let mut header = |read_at: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<usize>| {
        let count = read_full(read_at, 0, &mut raw)?;
        io::Result::Ok(Header::decode(&raw[..count]))
    };
    let Some(before) = header(&mut read_at)? else { return Ok(Chunk::default()) };
    let start = from.clamp(before.start(), before.end);
    let length = (before.end - start).min(max as u64).min(before.size);
    let mut data = BytesMut::new();
    for place in before.places(start, start + length) {
        let at = data.len();
        data.resize(at + (place.end - place.start) as usize, 0);
        let count = read_full(&mut read_at, place.start, &mut data[at..])?;
        data.truncate(at + count);
    }
    let after = header(&mut read_at)?.unwrap_or(before);
    let lost = after.start().saturating_sub(start).min(data.len() as u64);
    let data = data.freeze().slice(lost as usize..);
    Ok(Chunk { start: start + lost, data, end: before.end })
}

fn read_full(
    read_at: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<usize>,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match read_at(offset + done as u64, &mut buffer[done..])? {
            0 => break,
            count => done += count.min(buffer.len() - done),
        }
    }
    Ok(done)
}

/// The writing side: what to write where. The agent gives it a way to write to the file.
#[derive(Debug)]
pub struct Writer {
    header: Header,
}

impl Writer {
    /// Goes on after `existing`, the first bytes of the file, or begins an empty ring of `size`
    /// bytes when there is none of that size.
    #[must_use]
    pub fn new(existing: &[u8], size: u64) -> Self {
        let fresh = Header::new(size);
        let header = Header::decode(existing).filter(|h| h.size == fresh.size).unwrap_or(fresh);
        Self { header: Header { reserve: header.end, ..header } }
    }

    /// Appends `data` through `write_at(offset, bytes)`, which writes everything or fails. Of data
    /// longer than the ring the end is kept; offsets count all of it.
    pub fn append(
        &mut self,
        data: &[u8],
        mut write_at: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = self.header.end + data.len() as u64;
        let kept = data.len().min(self.header.size as usize);
        let mut rest = &data[data.len() - kept..];
        self.header.reserve = end;
        write_at(0, &self.header.encode())?;
        for place in self.header.places(end - kept as u64, end) {
            let (piece, later) = rest.split_at((place.end - place.start) as usize);
            if !piece.is_empty() {
                write_at(place.start, piece)?;
            }
            rest = later;
        }
        self.header.end = end;
        write_at(0, &self.header.encode())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(file: &mut Vec<u8>, writer: &mut Writer, data: &[u8]) {
        let result = writer.append(data, |at, bytes| {
            let at = at as usize;
            file.resize(file.len().max(at + bytes.len()), 0);
            file[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        });
        result.unwrap();
    }

    fn read_from(file: &[u8], from: u64, max: usize) -> Chunk {
        let read_at = |at: u64, buffer: &mut [u8]| {
            let rest = file.get(at as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        };
        read(read_at, from, max).unwrap()
    }

    #[test]
    fn an_agent_that_starts_again_goes_on_where_the_last_one_was() {
        let mut file = Vec::new();
        write(&mut file, &mut Writer::new(&[], 16), b"first ");
        let mut second = Writer::new(&file, 16);
        write(&mut file, &mut second, b"second");
        assert_eq!(&read_from(&file, 0, 100).data[..], b"first second");
        assert_eq!(read_from(&file, 100, 100), Chunk { start: 12, data: Bytes::new(), end: 12 });
    }

    #[test]
    fn what_is_overwritten_while_it_is_read_is_not_shown() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&[], 8);
        write(&mut file, &mut writer, b"abcdefgh");
        let mut reads = 0;
        let chunk = read(
            |at, buffer| {
                reads += 1;
                if reads == 3 {
                    write(&mut file, &mut writer, b"XY");
                }
                let rest = &file[at as usize..];
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            },
            0,
            100,
        );
        let data = Bytes::from_static(b"cdefgh");
        assert_eq!(chunk.unwrap(), Chunk { start: 2, data, end: 8 });
    }

    proptest! {
        #[test]
        fn a_ring_keeps_the_end_of_what_was_written(
            size in 1u64..64,
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..12),
            from in 0u64..200,
            max in 0usize..100,
        ) {
            let (mut file, mut writer) = (Vec::new(), Writer::new(&[], size));
            let mut all = Vec::new();
            for piece in &pieces {
                write(&mut file, &mut writer, piece);
                all.extend_from_slice(piece);
            }
            let end = all.len() as u64;
            let start = from.clamp(end.saturating_sub(size), end);
            let length = (end - start).min(max as u64).min(size);
            let expected = &all[start as usize..(start + length) as usize];
            let chunk = read_from(&file, from, max);
            prop_assert_eq!(&chunk.data[..], expected);
            if !pieces.is_empty() {
                prop_assert_eq!(chunk.start, start);
            }
        }

        #[test]
        fn no_file_makes_a_reader_panic_or_exceed_its_limit(
            mut file in prop::collection::vec(any::<u8>(), 0..300),
            magic: bool, size: u64, reserve: u64, end: u64, from: u64, max in 0usize..300,
        ) {
            if magic && file.len() >= USED {
                file[..USED].copy_from_slice(&Header { size, reserve, end }.encode());
            }
            prop_assert!(read_from(&file, from, max).data.len() <= max);
        }
    }
}
