//! Reads a tar stream member by member, with bounded memory.
//!
//! The `tar` crate knows the fields of a header. Its own reader is not used: it splits extended
//! headers at newlines (a capability may hold one), takes their length on trust, and expands sparse
//! files. This one bounds everything that a stream can make it remember.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::error::{EntryFault, UnpackError};
use super::pax::{self, Extended, Time};
use super::sparse::{self, Segment};

pub(super) const BLOCK: u64 = 512;

/// Bytes of long names, extended headers and sparse maps that one member may have. Extended
/// attributes end at 64 KiB each in the kernel; this holds more of them than any file has.
const LONGEST_PREAMBLE: u64 = 1 << 20;

/// One member of a tar stream.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) kind: EntryType,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    /// Bytes of the file once it is unpacked.
    pub(super) size: u64,
    /// Where the bytes of the stream go, when they do not simply fill the file.
    pub(super) sparse: Option<Vec<Segment>>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tar stream. Reading from it gives the data of the last member.
#[derive(Debug)]
pub(super) struct TarReader<R> {
    stream: R,
    /// Where the next byte of the stream is.
    offset: u64,
    /// Bytes of the current member's data that have not been read.
    data: u64,
    /// Bytes between that data and the next header.
    padding: u64,
    preamble: u64,
    /// Global extended headers, which are skipped.
    pub(super) globals: u64,
    /// Whether the end marker was seen, rather than the end of the stream.
    pub(super) end_marker: bool,
}

/// What precedes a member and describes it.
#[derive(Debug, Default)]
struct Preamble {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    extended: Option<Extended>,
}

impl<R: Read> TarReader<R> {
    pub(super) fn new(stream: R) -> Self {
        let (offset, data, padding, preamble, globals) = (0, 0, 0, 0, 0);
        Self { stream, offset, data, padding, preamble, globals, end_marker: false }
    }

    /// Skips what is left of the current member and reads the header of the next.
    pub(super) fn next(&mut self) -> Result<Option<Member>, UnpackError> {
        self.skip(self.data + self.padding)?;
        (self.data, self.padding, self.preamble) = (0, 0, 0);
        let mut preamble = Preamble::default();
        while let Some(header) = self.header()? {
            let size = header.entry_size().map_err(|_| self.malformed("its size"))?;
            match header.entry_type() {
                EntryType::GNULongName => preamble.path = Some(self.long_name(size)?),
                EntryType::GNULongLink => preamble.link = Some(self.long_name(size)?),
                EntryType::XHeader => {
                    let bytes = self.preamble(size)?;
                    let extended = Extended::parse(&bytes);
                    preamble.extended =
                        Some(extended.map_err(|_| self.malformed("an extended header"))?);
                }
                EntryType::XGlobalHeader => {
                    self.preamble(size)?;
                    self.globals += 1;
                }
                _ => return self.member(&header, preamble, size).map(Some),
            }
        }
        Ok(None)
    }

    /// Where the next byte of the stream is: after [`next`](Self::next), the member's data.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The stream, to be read to its end.
    pub(super) fn into_stream(self) -> R {
        self.stream
    }

    fn member(
        &mut self,
        header: &Header,
        preamble: Preamble,
        size: u64,
    ) -> Result<Member, UnpackError> {
        let mut extended = preamble.extended.unwrap_or_default();
        let stored = if has_data(header) { extended.size.unwrap_or(size) } else { 0 };
        let path = extended.sparse.name.take().or(preamble.path).or(extended.path.take());
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = preamble.link.or(extended.link.take());
        let link = link.or_else(|| header.link_name_bytes().map(Vec::from)).unwrap_or_default();
        let owner = |given: Option<u64>, field: io::Result<u64>| {
            let id = given.or(field.ok()).and_then(|id| u32::try_from(id).ok());
            // -1 means "leave it" to chown.
            let id = id.filter(|id| *id != u32::MAX);
            id.ok_or_else(|| UnpackError::refused(&path, EntryFault::BadOwner))
        };
        let (uid, gid) = (owner(extended.uid, header.uid())?, owner(extended.gid, header.gid())?);
        let mode = header.mode().map_err(|_| self.malformed("its mode"))?;
        let mtime = extended.mtime.unwrap_or_else(|| header_time(header));
        self.data = stored;
        self.padding = (BLOCK - stored % BLOCK) % BLOCK;
        stored.checked_add(BLOCK).ok_or_else(|| self.malformed("its size"))?;
        let kind = kind(header, &path);
        let (size, sparse) = self.sparse_map(header, &extended, &path)?;
        let xattrs = extended.xattrs;
        Ok(Member { kind, path, link, mode, uid, gid, mtime, size, sparse, xattrs })
    }

    /// The size of the file, and its map when it is sparse.
    fn sparse_map(
        &mut self,
        header: &Header,
        extended: &Extended,
        path: &[u8],
    ) -> Result<(u64, Option<Vec<Segment>>), UnpackError> {
        let gnu = extended.sparse.real_size;
        let (real_size, map) = if header.entry_type() == EntryType::GNUSparse {
            self.old_sparse_map(header)?
        } else if extended.sparse.version == (1, 0) {
            (gnu.unwrap_or(0), self.leading_sparse_map()?)
        } else if let Some(real_size) = gnu {
            (real_size, extended.sparse.map.clone())
        } else {
            return Ok((self.data, None));
        };
        if !sparse::consistent(&map, real_size, self.data) {
            return Err(UnpackError::refused(path, EntryFault::BadSparseMap));
        }
        Ok((real_size, Some(map)))
    }

    /// Old GNU format: in the header and in blocks that follow it.
    fn old_sparse_map(&mut self, header: &Header) -> Result<(u64, Vec<Segment>), UnpackError> {
        let gnu = header.as_gnu().ok_or_else(|| self.malformed("a sparse file"))?;
        let real_size = gnu.real_size().map_err(|_| self.malformed("a sparse file"))?;
        let bad = || UnpackError::refused(&header.path_bytes(), EntryFault::BadSparseMap);
        let mut map = sparse::from_gnu(&gnu.sparse).ok_or_else(bad)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.charge(BLOCK)?;
            self.fill(block.as_mut_bytes())?;
            map.extend(sparse::from_gnu(block.sparse()).ok_or_else(bad)?);
            more = block.is_extended();
        }
        Ok((real_size, map))
    }

    /// Format 1.0: decimal lines before the data, as many blocks as they need.
    fn leading_sparse_map(&mut self) -> Result<Vec<Segment>, UnpackError> {
        let mut text = Vec::new();
        let mut numbers = Vec::new();
        loop {
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let number = pax::number(&line[..end]).filter(|_| end > 0);
                numbers.push(number.ok_or_else(|| self.malformed("a sparse map"))?);
                // The first number says how many pairs follow.
                if (numbers.len() as u64 - 1) / 2 == numbers[0] {
                    let pairs = numbers[1..].chunks_exact(2);
                    return Ok(pairs.map(|p| Segment { offset: p[0], length: p[1] }).collect());
                }
            }
            let mut block = [0; BLOCK as usize];
            self.charge(BLOCK)?;
            self.data = self.data.checked_sub(BLOCK).ok_or_else(|| self.malformed("a map"))?;
            self.fill(&mut block)?;
            text.extend_from_slice(&block);
        }
    }

    /// The next header; `None` at the end marker or at the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        self.charge(BLOCK)?;
        if !self.fill_or_end(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            self.end_marker = true;
            return Ok(None);
        }
        let stated = header.cksum().map_err(|_| self.malformed("no header"))?;
        let (unsigned, signed) = checksums(header.as_bytes());
        if stated != unsigned && i64::from(stated) != signed {
            return Err(self.malformed("no header, or a damaged one"));
        }
        Ok(Some(header))
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        let mut name = self.preamble(size)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    /// The data of an extension, padding skipped.
    fn preamble(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        let padded = size.checked_next_multiple_of(BLOCK);
        let padded = padded.ok_or_else(|| self.malformed("its size"))?;
        self.charge(padded)?;
        // Bounded by the charge, so the conversions and the allocation are too.
        let mut bytes = vec![0; padded as usize];
        self.fill(&mut bytes)?;
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    fn charge(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.preamble = self.preamble.saturating_add(bytes);
        let (what, limit) = ("bytes of names and attributes of one entry", LONGEST_PREAMBLE);
        if self.preamble > limit { Err(UnpackError::TooMuch { what, limit }) } else { Ok(()) }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), UnpackError> {
        if self.fill_or_end(into)? { Ok(()) } else { Err(self.malformed("the stream ends")) }
    }

    /// `false` when the stream ends before the first byte.
    fn fill_or_end(&mut self, into: &mut [u8]) -> Result<bool, UnpackError> {
        let mut filled = 0;
        while filled < into.len() {
            match self.stream.read(&mut into[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(self.malformed("the stream ends")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::Read(error)),
            }
        }
        self.offset += filled as u64;
        Ok(true)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), UnpackError> {
        let skipped = io::copy(&mut self.stream.by_ref().take(bytes), &mut io::sink());
        let skipped = skipped.map_err(UnpackError::Read)?;
        self.offset += skipped;
        if skipped < bytes { Err(self.malformed("the stream ends")) } else { Ok(()) }
    }

    fn malformed(&self, reason: &'static str) -> UnpackError {
        UnpackError::Malformed { offset: self.offset, reason }
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.data).unwrap_or(usize::MAX).min(into.len());
        let count = self.stream.read(&mut into[..wanted])?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.data -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Links, folders and nodes are headers only, whatever size some programs write into them.
fn has_data(header: &Header) -> bool {
    use EntryType::{Block, Char, Directory, Fifo, Link, Symlink};
    !matches!(header.entry_type(), Link | Symlink | Char | Block | Directory | Fifo)
}

/// Before POSIX, a folder was a file whose name ends in `/`.
fn kind(header: &Header, path: &[u8]) -> EntryType {
    match header.entry_type() {
        EntryType::Regular if path.ends_with(b"/") => EntryType::Directory,
        EntryType::Continuous | EntryType::GNUSparse => EntryType::Regular,
        kind => kind,
    }
}

/// The modification time of a header, which may be negative in the binary form; one that makes no
/// sense becomes the epoch.
fn header_time(header: &Header) -> Time {
    let seconds = header.mtime().map_or(0, |seconds| seconds.cast_signed());
    Time { seconds, nanoseconds: 0 }
}

/// The sum of a header with its checksum read as spaces; old programs summed signed bytes.
fn checksums(block: &[u8; BLOCK as usize]) -> (u32, i64) {
    let with_spaces = block.iter().enumerate().map(|(at, byte)| match at {
        148..156 => b' ',
        _ => *byte,
    });
    with_spaces.fold((0, 0), |(unsigned, signed), byte| {
        (unsigned + u32::from(byte), signed + i64::from(byte.cast_signed()))
    })
}
