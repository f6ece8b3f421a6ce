//! Connections to ports of boxes.

use boxherd_boxd_api::BoxherdDialChunk;
use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::client::Wire;
use crate::uplink::{Open, uplink};
use crate::{Error, Ports};

/// Bytes in one message.
const PIECE: usize = 1024 * 1024;

/// What a box sends over a connection. Dropped, the connection is gone.
#[derive(Debug)]
pub struct Incoming {
    chunks: Streaming<BoxherdDialChunk>,
    _open: Open,
}

/// What is sent to a box over a connection. Dropped, the box sees the end.
#[derive(Debug)]
pub struct Outgoing(mpsc::Sender<BoxherdDialChunk>);

impl Ports {
    /// Connects to a TCP port on the box's loopback, without any port of the host. Boxherd alone offers
    /// it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let (mut incoming, mut outgoing) = client.ports("web").dial(80).await?;
    /// outgoing.send("GET / HTTP/1.0\r\n\r\n").await?;
    /// while let Some(bytes) = incoming.next().await? {
    ///     print!("{}", String::from_utf8_lossy(&bytes));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn dial(&self, port: u16) -> Result<(Incoming, Outgoing), Error> {
        let first = BoxherdDialChunk {
            vm_id: self.of.clone(),
            port: port.into(),
            ..BoxherdDialChunk::default()
        };
        let mut ends = None;
        // Anew each time: a stream whose call was refused is gone.
        let asked = || {
            let (sender, open, frames) = uplink(first.clone());
            ends = Some((sender, open));
            frames
        };
        let method = |mut wire: Wire, asked| async move { wire.boxherd_dial(asked).await };
        let chunks = self.client.authorised(asked, method).await?;
        let (sender, open) = ends.ok_or_else(|| Error::server("the call was not made"))?;
        Ok((Incoming { chunks, _open: open }, Outgoing(sender)))
    }
}

impl Incoming {
    /// What the box sends next; `None` when it sends no more.
    ///
    /// ```no_run
    /// # async fn example(mut incoming: boxherd_client::Incoming) -> Result<(), boxherd_client::Error> {
    /// println!("{:?}", incoming.next().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = self.chunks.message().await?;
        Ok(chunk.filter(|chunk| !chunk.ended).map(|chunk| chunk.data))
    }
}

impl Outgoing {
    /// Sends to the box, when it has taken what came before. An error says that it takes no more.
    ///
    /// ```no_run
    /// # async fn example(mut outgoing: boxherd_client::Outgoing) -> Result<(), boxherd_client::Error> {
    /// outgoing.send("hello\n").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(PIECE));
            let chunk = BoxherdDialChunk { data, ..BoxherdDialChunk::default() };
            self.0.send(chunk).await.map_err(|_| Error::lost("the box takes no more"))?;
        }
        Ok(())
    }

    /// Ends this direction.
    ///
    /// ```no_run
    /// # fn example(outgoing: boxherd_client::Outgoing) {
    /// outgoing.close();
    /// # }
    /// ```
    pub fn close(self) {
        drop(self);
    }
}
