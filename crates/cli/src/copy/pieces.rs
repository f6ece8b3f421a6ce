//! A file, piece by piece.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use bytes::Bytes;

use super::PIECE;

/// Reads a file into buffers that are used again once their pieces were sent: fresh memory costs a
/// page fault for every 4 KiB, which is more than reading them.
pub(super) struct Pieces {
    file: File,
    /// The oldest first, which is also sent first.
    buffers: VecDeque<Arc<[u8]>>,
}

impl Pieces {
    pub(super) fn of(file: File) -> Self {
        Self { file, buffers: VecDeque::new() }
    }

    /// The next piece, empty at the end.
    pub(super) fn next(&mut self) -> io::Result<Bytes> {
        let mut buffer = self.free_buffer();
        // It is free, so nobody else holds it and it is not copied.
        let room = Arc::make_mut(&mut buffer);
        let count = loop {
            match self.file.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.buffers.push_back(Arc::clone(&buffer));
        Ok(Bytes::from_owner(buffer).slice(..count))
    }

    fn free_buffer(&mut self) -> Arc<[u8]> {
        let free = self.buffers.front().is_some_and(|oldest| Arc::strong_count(oldest) == 1);
        let oldest = free.then(|| self.buffers.pop_front()).flatten();
        oldest.unwrap_or_else(|| vec![0; PIECE].into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    fn pieces(content: &[u8]) -> Pieces {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        Pieces::of(file)
    }

    #[test]
    fn pieces_that_are_still_held_keep_their_bytes() {
        let content: Vec<u8> = (0..3 * PIECE + 5).map(|i| (i / 1000) as u8).collect();
        let mut pieces = pieces(&content);
        let mut held = Vec::new();
        loop {
            match pieces.next().unwrap() {
                end if end.is_empty() => break,
                piece => held.push(piece),
            }
        }
        assert!(held.concat() == content);
    }

    #[test]
    fn a_buffer_is_used_again_when_its_piece_is_gone() {
        let mut pieces = pieces(&[7; 3 * PIECE]);
        while !pieces.next().unwrap().is_empty() {}
        assert_eq!(pieces.buffers.len(), 1);
    }
}
