//! Requests over HTTP/1.1: many small ones on connections that stay open, or one large answer.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Instant;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Connections at once: more than there are processors at any hop, so that nobody waits for
/// the way there and back, and few enough that this is no measurement of scheduling.
pub(crate) const CONNECTIONS: u32 = 32;

/// What is read of a large answer at once, in bytes.
const PIECE: usize = 256 * 1024;

/// Whom to ask, and what for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) place: SocketAddr,
    /// The name that is called.
    pub(crate) host: String,
}

/// A connection that stays open. Dropped, it is closed.
struct Visitor<'a> {
    target: &'a Target,
    sender: SendRequest<String>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<'a> Visitor<'a> {
    async fn connect(target: &'a Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.place).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        Ok(Self { target, sender, driver: tokio::spawn(driver) })
    }

    /// One request to the last byte of its answer; returns how many those were.
    async fn get(&mut self, path: &str) -> anyhow::Result<u64> {
        self.sender.ready().await?;
        let request = Request::get(path).header(HOST, &self.target.host).body(String::new())?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        anyhow::ensure!(status.is_success(), "the answer was {status}");
        drain(response).await
    }
}

async fn drain(response: Response<Incoming>) -> anyhow::Result<u64> {
    let mut body = response.into_body();
    let mut count = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        count += frame?.data_ref().map_or(0, |piece| piece.len() as u64);
    }
    Ok(count)
}

/// Asks `count` times in all for `path`, on [`CONNECTIONS`] connections that are open before the clock
/// runs; returns how often in a second.
pub(crate) async fn rate(target: &Target, path: &str, count: u32) -> anyhow::Result<f64> {
    let visitors = (0..CONNECTIONS).map(|_| Visitor::connect(target));
    let mut visitors = try_join_all(visitors).await?;
    // The hops have their connections, too, before anything is measured.
    try_join_all(visitors.iter_mut().map(|visitor| visitor.get(path))).await?;
    let left = Cell::new(count);
    let start = Instant::now();
    try_join_all(visitors.iter_mut().map(async |visitor| {
        while left.get() > 0 {
            left.set(left.get() - 1);
            visitor.get(path).await?;
        }
        anyhow::Ok(())
    }))
    .await?;
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Fetches `path`, which has `size` bytes; returns how many millions of them came in a second. They
/// are counted as they come, by nothing that costs as much as a hop does.
pub(crate) async fn speed(target: &Target, path: &str, size: u64) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(target.place).await.context("cannot connect")?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.host);
    let mut buffer = vec![0; PIECE];
    let start = Instant::now();
    stream.write_all(head.as_bytes()).await?;
    let mut count = head_and_rest(&mut stream, &mut buffer).await?;
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            more => count += more as u64,
        }
    }
    let took = start.elapsed().as_secs_f64();
    anyhow::ensure!(count == size, "{count} of {size} bytes came");
    Ok(size as f64 / 1e6 / took)
}

/// Reads the head of an answer, which must be a good one; returns how much of its body came with it.
async fn head_and_rest(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<u64> {
    let mut filled = 0;
    loop {
        let more = stream.read(&mut buffer[filled..]).await?;
        anyhow::ensure!(more > 0, "the answer has no end of its head");
        filled += more;
        let end = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]);
        anyhow::ensure!(head.starts_with("HTTP/1.1 200 "), "the answer was {head}");
        return Ok((filled - end - 4) as u64);
    }
}
