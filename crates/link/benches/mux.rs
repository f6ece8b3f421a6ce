//! Compares the link's multiplexer with the crates that could have been used instead: a ping of one
//! byte and a bulk transfer, over a unix socket pair, each end on a thread of its own. Results are
//! in `docs/design/0002-link.md`. Run by hand:
//!
//! ```sh
//! cargo bench -p boxherd-link
//! ```

use std::future::poll_fn;
use std::time::{Duration, Instant};

use boxherd_link::conn::{Conn, Inbound, Role};
use boxherd_link::proto::{Hello, Nothing, Request};
use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::compat::TokioAsyncReadCompatExt;

const PINGS: usize = 5000;
const BULK: usize = 1 << 30;
const CHUNK: usize = 256 * 1024;

struct Measured {
    pings: Vec<Duration>,
    bulk: Duration,
}

fn main() {
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    for round in 1..=3 {
        report(round, "socket", run(raw_server, raw_client));
        report(round, "link", run(link_server, link_client));
        report(round, "yamux", run(yamux_server, yamux_client));
    }
}

fn report(round: u32, name: &str, mut measured: Measured) {
    measured.pings.sort_unstable();
    let at = |share: f64| measured.pings[(measured.pings.len() as f64 * share) as usize];
    println!(
        "round {round} {name:8} ping p50 {:7.1?} p99 {:7.1?} (n {PINGS})  bulk {:5.2} GB/s",
        at(0.5),
        at(0.99),
        BULK as f64 / measured.bulk.as_secs_f64() / 1e9,
    );
}

/// Runs both ends, each on a thread and a runtime of its own as they are in life.
fn run<S, C>(server: fn(UnixStream) -> S, client: fn(UnixStream) -> C) -> Measured
where
    S: Future<Output = ()> + 'static,
    C: Future<Output = Measured>,
{
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let serving = std::thread::spawn(move || on_runtime(far, server));
    let measured = on_runtime(near, client);
    serving.join().unwrap();
    measured
}

fn on_runtime<T, F: Future<Output = T>>(
    stream: std::os::unix::net::UnixStream,
    end: fn(UnixStream) -> F,
) -> T {
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { end(UnixStream::from_std(stream).unwrap()).await })
}

async fn raw_server(stream: UnixStream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = stream;
    let mut byte = [0];
    for _ in 0..PINGS {
        stream.read_exact(&mut byte).await.unwrap();
        stream.write_all(&byte).await.unwrap();
    }
    let chunk = vec![7; CHUNK];
    for _ in 0..BULK / CHUNK {
        stream.write_all(&chunk).await.unwrap();
    }
}

async fn raw_client(stream: UnixStream) -> Measured {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = stream;
    let mut pings = Vec::new();
    let mut byte = [0];
    for _ in 0..PINGS {
        let begun = Instant::now();
        stream.write_all(&byte).await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        pings.push(begun.elapsed());
    }
    let begun = Instant::now();
    let mut chunk = vec![0; CHUNK];
    let mut total = 0;
    while total < BULK {
        total += stream.read(&mut chunk).await.unwrap();
    }
    Measured { pings, bulk: begun.elapsed() }
}

fn hello() -> Hello {
    Hello { protocol: 1, oldest_protocol: 1, ..Hello::default() }
}

async fn link_server(stream: UnixStream) {
    let opened = Conn::open(stream, Role::Agent, &hello(), Duration::from_secs(5)).await;
    let (conn, _) = opened.unwrap();
    let (stream, _) = conn.accept().await.unwrap().unwrap();
    for _ in 0..PINGS {
        let Inbound::Data { bytes, cost, .. } = stream.recv().await.unwrap() else { panic!() };
        stream.release(cost);
        stream.send_now(0, bytes, false);
    }
    for _ in 0..BULK / CHUNK {
        stream.send(0, Bytes::from(vec![7; CHUNK])).await.unwrap();
    }
    stream.end(boxherd_link::proto::Answer::Done(Nothing {}));
    conn.closed().await;
}

async fn link_client(stream: UnixStream) -> Measured {
    let opened = Conn::open(stream, Role::Host, &hello(), Duration::from_secs(5)).await;
    let (conn, _) = opened.unwrap();
    let stream = conn.request(Request::List(Default::default())).unwrap();
    stream.grant(768 * 1024);
    let mut pings = Vec::new();
    for _ in 0..PINGS {
        let begun = Instant::now();
        stream.send_now(0, Bytes::from_static(b"x"), false);
        let Inbound::Data { cost, .. } = stream.recv().await.unwrap() else { panic!() };
        pings.push(begun.elapsed());
        stream.release(cost);
    }
    let begun = Instant::now();
    let mut total = 0;
    while let Inbound::Data { bytes, cost, .. } = stream.recv().await.unwrap() {
        total += bytes.len();
        stream.release(cost);
    }
    assert_eq!(total, BULK);
    let bulk = begun.elapsed();
    drop(stream);
    conn.close().await;
    Measured { pings, bulk }
}

async fn yamux_server(stream: UnixStream) {
    let mut connection =
        yamux::Connection::new(stream.compat(), yamux::Config::default(), yamux::Mode::Server);
    let mut stream = poll_fn(|cx| connection.poll_next_inbound(cx)).await.unwrap().unwrap();
    let driver = tokio::task::LocalSet::new();
    driver
        .run_until(async {
            tokio::task::spawn_local(async move {
                while poll_fn(|cx| connection.poll_next_inbound(cx)).await.is_some() {}
            });
            let mut byte = [0];
            for _ in 0..PINGS {
                stream.read_exact(&mut byte).await.unwrap();
                stream.write_all(&byte).await.unwrap();
                stream.flush().await.unwrap();
            }
            let chunk = vec![7; CHUNK];
            for _ in 0..BULK / CHUNK {
                stream.write_all(&chunk).await.unwrap();
            }
            stream.close().await.unwrap();
            // Until the client has gone.
            assert_eq!(stream.read(&mut byte).await.unwrap_or(0), 0);
        })
        .await;
}

async fn yamux_client(stream: UnixStream) -> Measured {
    let mut connection =
        yamux::Connection::new(stream.compat(), yamux::Config::default(), yamux::Mode::Client);
    let mut stream = poll_fn(|cx| connection.poll_new_outbound(cx)).await.unwrap();
    let driver = tokio::task::LocalSet::new();
    driver
        .run_until(async {
            tokio::task::spawn_local(async move {
                while poll_fn(|cx| connection.poll_next_inbound(cx)).await.is_some() {}
            });
            let mut pings = Vec::new();
            let mut byte = [0];
            for _ in 0..PINGS {
                let begun = Instant::now();
                stream.write_all(&byte).await.unwrap();
                stream.flush().await.unwrap();
                stream.read_exact(&mut byte).await.unwrap();
                pings.push(begun.elapsed());
            }
            let begun = Instant::now();
            let (mut chunk, mut total) = (vec![0; CHUNK], 0);
            while total < BULK {
                total += stream.read(&mut chunk).await.unwrap();
            }
            let bulk = begun.elapsed();
            stream.close().await.unwrap();
            Measured { pings, bulk }
        })
        .await
}
