//! A link to an agent far away: what is under way at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use boxherd_link::{Link, ReadRange, WriteOptions};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::{agent, within};

/// Half of a round trip.
const ONE_WAY: Duration = Duration::from_millis(15);
/// What a link to a neighbour has under way at most, in bytes.
const NEAR: usize = 1 << 20;

/// Bytes that are under way in one direction, now and at most.
#[derive(Default)]
struct UnderWay {
    now: AtomicUsize,
    most: AtomicUsize,
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, under_way: Arc<UnderWay>) {
    let (sender, mut queue) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let counted = Arc::clone(&under_way);
    let reading = async move {
        let mut piece = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            let now = counted.now.fetch_add(count, Ordering::Relaxed) + count;
            counted.most.fetch_max(now, Ordering::Relaxed);
            let due = Instant::now() + ONE_WAY;
            if sender.send((due, piece[..count].to_vec())).is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = queue.recv().await {
            tokio::time::sleep_until(due).await;
            under_way.now.fetch_sub(piece.len(), Ordering::Relaxed);
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

/// A link that is as long as that, with what is under way to the agent and from it.
async fn far() -> (Link, [Arc<UnderWay>; 2]) {
    let (host, near) = UnixStream::pair().unwrap();
    let (far, guest) = UnixStream::pair().unwrap();
    let counts = [Arc::default(), Arc::default()];
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::spawn(carry(near_read, far_write, Arc::clone(&counts[0])));
    tokio::spawn(carry(far_read, near_write, Arc::clone(&counts[1])));
    let agent = agent();
    tokio::spawn(async move { agent.serve(guest).await });
    (Link::open(host).await.unwrap(), counts)
}

#[tokio::test]
async fn files_have_more_under_way_than_near() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let content = Bytes::from(vec![7; 12 << 20]);
    let (link, [there, _]) = far().await;
    let mut writer = link.files().write(&path, WriteOptions::default()).unwrap();
    within(writer.send(content.clone())).await.unwrap();
    within(writer.finish()).await.unwrap();
    let most = there.most.load(Ordering::Relaxed);
    assert!(most > 2 * NEAR, "{most} bytes on the way there");
    // One that knows nothing of the distance.
    let (link, [_, back]) = far().await;
    let reader = link.files().read(&path, ReadRange::default()).unwrap();
    let read = within(reader.read_all(usize::MAX)).await.unwrap();
    assert!(read == content);
    let most = back.most.load(Ordering::Relaxed);
    assert!(most > 2 * NEAR, "{most} bytes on the way back");
}
