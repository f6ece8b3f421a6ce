//! Maps of sparse files: which parts of a file the stream carries.

use tar::GnuSparseHeader;

/// `length` bytes of data at `offset`; everything else is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Whether the segments are in order, apart, inside the file, and as long as the data.
pub(super) fn consistent(map: &[Segment], real_size: u64, stored: u64) -> bool {
    let mut end = 0_u64;
    let mut total = 0_u64;
    for segment in map {
        let Some(next) = segment.offset.checked_add(segment.length) else { return false };
        if segment.offset < end || next > real_size {
            return false;
        }
        end = next;
        // Cannot overflow: the segments are apart and `end` fits.
        total += segment.length;
    }
    total == stored
}

/// The segments in a block of an old GNU header; `None` when a number makes no sense.
pub(super) fn from_gnu(headers: &[GnuSparseHeader]) -> Option<Vec<Segment>> {
    let used = headers.iter().filter(|header| !header.is_empty());
    used.map(|header| {
        Some(Segment { offset: header.offset().ok()?, length: header.length().ok()? })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(u64, u64)]) -> Vec<Segment> {
        pairs.iter().map(|&(offset, length)| Segment { offset, length }).collect()
    }

    #[test]
    fn maps_that_contradict_themselves_are_seen() {
        assert!(consistent(&map(&[(0, 512), (4096, 100)]), 8192, 612));
        assert!(consistent(&map(&[(8192, 0)]), 8192, 0));
        for (pairs, real, stored) in [
            (&[(0, 512), (100, 512)][..], 8192, 1024),
            (&[(4096, 1), (0, 1)], 8192, 2),
            (&[(0, 512)], 511, 512),
            (&[(0, 512)], 8192, 513),
            (&[(u64::MAX, 2)], u64::MAX, 2),
        ] {
            assert!(!consistent(&map(pairs), real, stored), "{pairs:?}");
        }
    }
}
