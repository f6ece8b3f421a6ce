//! Output that the client has not acknowledged: what a reattach sends again. Pure.
//!
//! What is kept here is also what bounds a command's output: when it costs a whole window, nothing
//! more is read from the command.

use std::collections::VecDeque;

use boxherd_link::channel;
use boxherd_link::mux::{FRAME_COST, WINDOW};
use bytes::Bytes;

/// One piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// [`channel::STDOUT`] or [`channel::STDERR`].
    pub(crate) channel: u8,
    pub(crate) bytes: Bytes,
}

impl Piece {
    fn cost(&self) -> u32 {
        self.bytes.len() as u32 + FRAME_COST
    }
}

/// Unacknowledged output, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pieces: VecDeque<Piece>,
    cost: u32,
    /// Where the oldest piece kept begins, for output and error output.
    start: [u64; 2],
}

/// The client asks for output that it had acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

fn index(channel: u8) -> usize {
    usize::from(channel == channel::STDERR)
}

impl Replay {
    /// How many bytes may be added.
    pub(crate) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.cost + FRAME_COST) as usize
    }

    /// Keeps a piece that was read, at most [`room`](Self::room) bytes.
    pub(crate) fn push(&mut self, channel: u8, bytes: Bytes) {
        let piece = Piece { channel, bytes };
        self.cost += piece.cost();
        self.pieces.push_back(piece);
    }

    /// Forgets the oldest pieces, as long as what is left costs at least `cost`.
    pub(crate) fn trim(&mut self, cost: u32) {
        while let Some(front) = self.pieces.front() {
            if self.cost - front.cost() < cost {
                break;
            }
            self.forget_front();
        }
    }

    fn forget_front(&mut self) {
        if let Some(front) = self.pieces.pop_front() {
            self.cost -= front.cost();
            self.start[index(front.channel)] += front.bytes.len() as u64;
        }
    }

    /// Forgets what lies before `from` (output, error output) and gives the rest to be sent again.
    pub(crate) fn resume(&mut self, from: [u64; 2]) -> Result<Vec<Piece>, Gone> {
        let total = |channel: u8| {
            let pieces = self.pieces.iter().filter(|p| p.channel == channel);
            self.start[index(channel)] + pieces.map(|p| p.bytes.len() as u64).sum::<u64>()
        };
        let end = [total(channel::STDOUT), total(channel::STDERR)];
        if (0..2).any(|i| from[i] < self.start[i] || from[i] > end[i]) {
            return Err(Gone);
        }
        let mut kept = Replay { start: from, ..Replay::default() };
        for piece in std::mem::take(&mut self.pieces) {
            let i = index(piece.channel);
            let skip = from[i].saturating_sub(self.start[i]).min(piece.bytes.len() as u64);
            self.start[i] += piece.bytes.len() as u64;
            if (skip as usize) < piece.bytes.len() {
                kept.push(piece.channel, piece.bytes.slice(skip as usize..));
            }
        }
        *self = kept;
        Ok(self.pieces.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use boxherd_link::channel::{STDERR, STDOUT};
    use proptest::prelude::*;

    use super::*;

    fn kept() -> Replay {
        let mut replay = Replay::default();
        replay.push(STDOUT, Bytes::from_static(b"out1"));
        replay.push(STDERR, Bytes::from_static(b"err"));
        replay.push(STDOUT, Bytes::from_static(b"out2"));
        replay
    }

    fn text(pieces: &[Piece]) -> Vec<(u8, &[u8])> {
        pieces.iter().map(|p| (p.channel, &p.bytes[..])).collect()
    }

    #[test]
    fn a_client_goes_on_within_a_piece() {
        let pieces = kept().resume([6, 1]).unwrap();
        assert_eq!(text(&pieces), [(STDERR, &b"rr"[..]), (STDOUT, &b"t2"[..])]);
    }

    #[test]
    fn what_was_acknowledged_is_gone_and_what_never_was_is_refused() {
        let mut replay = kept();
        replay.trim(2 * FRAME_COST + 7);
        assert_eq!(replay.resume([3, 0]), Err(Gone));
        assert_eq!(replay.resume([9, 0]), Err(Gone));
        assert_eq!(text(&replay.resume([4, 3]).unwrap()), [(STDOUT, &b"out2"[..])]);
    }

    #[test]
    fn a_full_window_takes_nothing_more() {
        let mut replay = Replay::default();
        replay.push(STDOUT, Bytes::from(vec![0; replay.room()]));
        assert_eq!(replay.room(), 0);
        replay.trim(0);
        assert_eq!(replay.room(), (WINDOW - FRAME_COST) as usize);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_repeated(
            pieces in prop::collection::vec((any::<bool>(), 1usize..50), 0..20),
            cut: prop::sample::Index,
        ) {
            let (mut replay, mut all) = (Replay::default(), [Vec::new(), Vec::new()]);
            for (n, (error, length)) in pieces.iter().enumerate() {
                let bytes = vec![n as u8; *length];
                all[usize::from(*error)].extend_from_slice(&bytes);
                replay.push(if *error { STDERR } else { STDOUT }, bytes.into());
            }
            let from = [cut.index(all[0].len() + 1), cut.index(all[1].len() + 1)];
            let mut rest = [Vec::new(), Vec::new()];
            for piece in replay.resume(from.map(|f| f as u64)).unwrap() {
                rest[index(piece.channel)].extend_from_slice(&piece.bytes);
            }
            prop_assert_eq!(&rest[0], &all[0][from[0]..]);
            prop_assert_eq!(&rest[1], &all[1][from[1]..]);
        }
    }
}
