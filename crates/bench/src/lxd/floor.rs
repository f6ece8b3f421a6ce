//! The way itself: a byte there and back, through the same proxy.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::contest::millis_since;
use crate::delay::Proxy;

/// Somebody at the end of such a way who gives back what arrives.
#[derive(Debug)]
pub(crate) struct Echo {
    /// Dropped with it.
    _proxy: Proxy,
    task: JoinHandle<()>,
    stream: Mutex<TcpStream>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Echo {
    pub(crate) async fn start(round_trip: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?.to_string();
        let task = tokio::spawn(async move {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let (mut from, mut to) = stream.split();
            // It ends with whoever asks.
            drop(tokio::io::copy(&mut from, &mut to).await);
        });
        let proxy = Proxy::start(target, round_trip).await?;
        let stream = TcpStream::connect(("127.0.0.1", proxy.port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { _proxy: proxy, task, stream: Mutex::new(stream) })
    }

    /// A byte there and back, in milliseconds.
    pub(crate) async fn turn(&self) -> anyhow::Result<f64> {
        let mut stream = self.stream.lock().await;
        let start = Instant::now();
        stream.write_all(b"x").await?;
        let mut back = [0];
        stream.read_exact(&mut back).await.context("the echo has ended")?;
        Ok(millis_since(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_way_is_as_long_as_it_is_to_be() {
        let echo = Echo::start(Duration::from_millis(40)).await.unwrap();
        // Its connection is made before the first byte arrives.
        echo.turn().await.unwrap();
        let took = echo.turn().await.unwrap();
        assert!((40.0..400.0).contains(&took), "{took} ms");
    }
}
