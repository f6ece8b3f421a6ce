//! A way as long as one wants: a TCP proxy with a round-trip time, also for the setting up of connections.
//! What is sent arrives whole, in order and half of the time later; how much at once is not limited.
//!
//! The tests of `lxd-client` include this file, which is why it knows nothing of this crate.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// What is read at once, in bytes.
const PIECE: usize = 64 << 10;
/// Pieces on their way in one direction; only memory bounds them.
const ON_THE_WAY: usize = 1024;

/// A running proxy. Its connections are cut, and it listens no more, when it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    asked: AtomicU64,
}

/// What has gone through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Connections that were accepted.
    pub(crate) connections: u64,
    /// How often a client began to send after the server had, or at all: round trips, connection by
    /// connection.
    pub(crate) asked: u64,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts a proxy to `target`, such as `lab.example:8443`.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub(crate) async fn start(target: String, round_trip: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::Relaxed);
                let counted = Arc::clone(&counted);
                connections.spawn(carry(client, target.clone(), round_trip, counted));
            }
        });
        Ok(Self { port, counts, task })
    }

    /// What has gone through it until now.
    #[allow(dead_code, reason = "not everyone who includes this file counts")]
    pub(crate) fn traffic(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic { connections: read(&self.counts.connections), asked: read(&self.counts.asked) }
    }
}

/// One connection. Whoever cannot be reached, or goes away, is told to the other by the end of it.
async fn carry(client: TcpStream, target: String, round_trip: Duration, counts: Arc<Counts>) {
    // SYN and SYN-ACK.
    sleep(round_trip).await;
    let Ok(server) = TcpStream::connect(target).await else { return };
    let quick = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    if quick.is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // 1 while the client speaks, 0 while the server does.
    let speaks = AtomicU64::new(0);
    let asks = || {
        counts.asked.fetch_add(1 - speaks.swap(1, Ordering::Relaxed), Ordering::Relaxed);
    };
    let answers = || speaks.store(0, Ordering::Relaxed);
    tokio::join!(
        delayed(from_client, to_server, round_trip / 2, asks),
        delayed(from_server, to_client, round_trip / 2, answers),
    );
}

/// Every piece arrives so much later than it was sent.
async fn delayed(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    by: Duration,
    sent: impl Fn(),
) {
    let (sender, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let read = async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            sent();
            let piece = (Instant::now() + by, buffer[..read].to_vec());
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = queue.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        // Who is gone already, needs no end.
        drop(to.shutdown().await);
    };
    tokio::join!(read, write);
}
