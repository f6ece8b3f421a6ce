//! A TCP proxy with a round-trip time, also for the setting up of connections.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// A running proxy. Its connections are cut, and it listens no more, when it is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a proxy to `target`.
pub(crate) async fn proxy(target: String, round_trip: Duration) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(carry(client, target.clone(), round_trip));
        }
    });
    Proxy { port, task }
}

async fn carry(client: TcpStream, target: String, round_trip: Duration) {
    // SYN and SYN-ACK.
    sleep(round_trip).await;
    let server = TcpStream::connect(target).await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        delayed(from_client, to_server, round_trip / 2),
        delayed(from_server, to_client, round_trip / 2),
    );
}

/// Every piece arrives so much later than it was sent.
async fn delayed(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, by: Duration) {
    let (sender, mut queue) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let piece = (Instant::now() + by, buffer[..read].to_vec());
            if sender.send(piece).is_err() {
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
