//! What the main program wrote: the end of it, in memory.

use std::sync::Arc;

use boxherd_engine::ConsoleChunk;
use bytes::Bytes;
use parking_lot::Mutex;

/// How much is kept, in bytes.
const KEPT: usize = 1 << 20;
/// How much is shown at once, in bytes.
const SHOWN: usize = 256 << 10;

/// The console of one box, through all its starts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Console {
    written: Arc<Mutex<Written>>,
}

#[derive(Debug, Default)]
struct Written {
    /// What came before `kept`, in bytes.
    gone: usize,
    kept: Vec<u8>,
}

impl Console {
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut written = self.written.lock();
        written.kept.extend_from_slice(bytes);
        let surplus = written.kept.len().saturating_sub(KEPT);
        written.kept.drain(..surplus);
        written.gone += surplus;
    }

    pub(crate) fn read(&self, from: u64) -> ConsoleChunk {
        let written = self.written.lock();
        let skip = usize::try_from(from).unwrap_or(usize::MAX).saturating_sub(written.gone);
        let rest = &written.kept[skip.min(written.kept.len())..];
        let end = written.gone + written.kept.len();
        let start = end - rest.len();
        let data = Bytes::copy_from_slice(&rest[..rest.len().min(SHOWN)]);
        ConsoleChunk { start: start as u64, data, end: end as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let console = Console::default();
        console.write(b"hello ");
        let first = console.read(0);
        console.write(b"world");
        let second = console.read(first.next());
        assert_eq!((&first.data[..], &second.data[..]), (&b"hello "[..], &b"world"[..]));
        assert_eq!(console.read(1000).start, 11);
    }

    #[test]
    fn the_oldest_bytes_go_first() {
        let console = Console::default();
        console.write(&[b'a'; KEPT]);
        console.write(b"bc");
        let chunk = console.read(0);
        assert_eq!((chunk.start, chunk.data.len()), (2, SHOWN));
        assert_eq!(console.read(KEPT as u64).data, "bc");
    }
}
