//! Files on their way to the server: how much of them is sent, and what fingerprint they come to.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Between two looks at how much is sent.
const LOOK: Duration = Duration::from_millis(100);

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Upload {
    content: Content,
    sent: Sent,
}

#[derive(Debug)]
enum Content {
    File(File),
    Memory(Bytes),
}

/// How much was sent, as long as somebody wants to know.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    total: u64,
    done: Arc<AtomicU64>,
    hash: Arc<Mutex<Sha256>>,
}

impl Upload {
    /// A file.
    pub(crate) async fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path).await?;
        let total = file.metadata().await?.len();
        Ok(Self { content: Content::File(file), sent: Sent::of(total) })
    }

    /// What is in memory.
    pub(crate) fn of(content: Vec<u8>) -> Self {
        let total = content.len() as u64;
        Self { content: Content::Memory(content.into()), sent: Sent::of(total) }
    }

    /// The same, counted together with what is sent before it.
    pub(crate) fn after(self, before: &Self) -> Self {
        let total = self.sent.total + before.sent.total;
        Self { sent: Sent { total, ..before.sent.clone() }, ..self }
    }

    pub(crate) fn sent(&self) -> Sent {
        self.sent.clone()
    }

    /// Its content in pieces.
    pub(crate) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let Self { content, sent } = self;
        let pieces = match content {
            Content::Memory(bytes) => stream::once(async { Ok(bytes) }).boxed(),
            Content::File(file) => stream::try_unfold(file, |mut file| async move {
                let mut piece = Vec::with_capacity(PIECE);
                let count = (&mut file).take(PIECE as u64).read_to_end(&mut piece).await?;
                Ok((count > 0).then(|| (Bytes::from(piece), file)))
            })
            .boxed(),
        };
        pieces.inspect(move |piece| {
            if let Ok(piece) = piece {
                sent.done.fetch_add(piece.len() as u64, Ordering::Relaxed);
                sent.hash.lock().update(piece);
            }
        })
    }
}

impl Sent {
    fn of(total: u64) -> Self {
        Self { total, done: Arc::default(), hash: Arc::default() }
    }

    /// Bytes that there are to be sent.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The fingerprint of what was sent, in hex, as servers compute it.
    pub(crate) fn fingerprint(&self) -> String {
        let digest = self.hash.lock().clone().finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Tells again and again how much was sent, while `sending` goes on.
    pub(crate) async fn telling<T>(
        &self,
        tell: impl Fn(u64),
        sending: impl Future<Output = T>,
    ) -> T {
        let mut sending = pin!(sending);
        loop {
            match tokio::time::timeout(LOOK, &mut sending).await {
                Ok(done) => return done,
                Err(_) => tell(self.done.load(Ordering::Relaxed)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn two_parts_are_counted_and_have_one_fingerprint() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![b'x'; PIECE + 1]).unwrap();
        let first = Upload::of(b"abc".to_vec());
        let second = Upload::open(file.path()).await.unwrap().after(&first);
        let sent = second.sent();
        assert_eq!(sent.total(), 3 + PIECE as u64 + 1);
        let told = RefCell::new(Vec::new());
        let pieces = first.stream().chain(second.stream());
        let count = sent.telling(|done| told.borrow_mut().push(done), async {
            let count =
                pieces.fold(0, |sum, piece| async move { sum + piece.unwrap().len() }).await;
            // It ends when all of it was told.
            while told.borrow().last() != Some(&sent.total()) {
                tokio::time::sleep(LOOK / 10).await;
            }
            count
        });
        assert_eq!(count.await, PIECE + 4);
        assert_eq!(told.borrow().last(), Some(&sent.total()));
        let mut whole = b"abc".to_vec();
        whole.extend(vec![b'x'; PIECE + 1]);
        let digest = Sha256::digest(&whole);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sent.fingerprint(), hex);
    }
}
