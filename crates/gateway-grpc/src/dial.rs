//! Connections to ports of boxes, over a bidirectional stream of the API (ours).
//!
//! The first frame says where to; the connection is there when the call is answered. Either side can end
//! its direction without the other, and a call that is gone ends both.

use boxherd_boxd_api::BoxherdDialChunk;
use boxherd_herd::{ExecSlot, HerdError, InUse};
use boxherd_link::PortStream;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

use crate::desk::Desk;
use crate::frames::{Frames, Unreadable};
use crate::translate::invalid;

/// How much is sent at once, in bytes.
const PIECE: usize = 64 * 1024;

/// A connection, and what must live as long.
struct Connection {
    from_box: ReadHalf<PortStream>,
    to_box: Task,
    unreadable: Unreadable,
    ended: bool,
    _awake: InUse,
    _slot: ExecSlot,
}

/// The task that passes on what the client sends. It ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects to a port of the box's loopback. Counts as a command.
pub(crate) async fn dial(
    desk: &Desk<'_>,
    first: BoxherdDialChunk,
    frames: Streaming<BoxherdDialChunk>,
) -> Result<impl Stream<Item = Result<BoxherdDialChunk, Status>> + Send + use<>, HerdError> {
    let address = desk.address("vm_id", &first.vm_id)?;
    let port = u16::try_from(first.port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| invalid("port", "a port is from 1 to 65535"))?;
    let (found, awake) = desk.herd.keep_awake(&address).await?;
    desk.about(found.id());
    let slot = desk.herd.exec_slot().await?;
    let link = desk.herd.link_to(found).await?;
    let failed = |source| HerdError::Link { name: address.to_string(), source };
    let (from_box, to_box) = tokio::io::split(link.dial(port).await.map_err(failed)?);
    let (frames, unreadable) = Frames::new(frames);
    let to_box = Task(tokio::spawn(pass_on(first.data, frames, to_box)));
    let connection =
        Connection { from_box, to_box, unreadable, ended: false, _awake: awake, _slot: slot };
    Ok(unfold(Some(connection), next))
}

/// Passes on what the client sends, until it has ended. That the box takes no more, its own end says.
async fn pass_on(
    first: Bytes,
    mut frames: Frames<BoxherdDialChunk>,
    mut to_box: WriteHalf<PortStream>,
) {
    let mut data = first;
    loop {
        if to_box.write_all(&data).await.is_err() {
            return;
        }
        data = match frames.message().await {
            Ok(Some(frame)) => frame.data,
            Ok(None) => {
                drop(to_box.shutdown().await);
                return;
            }
            Err(_) => return,
        };
    }
}

/// What the box sends, then that it has ended, then nothing until the client has ended too.
async fn next(
    connection: Option<Connection>,
) -> Option<(Result<BoxherdDialChunk, Status>, Option<Connection>)> {
    let mut connection = connection?;
    if connection.ended {
        drop((&mut connection.to_box.0).await);
        return connection.unreadable.heard().await.map(|status| (Err(status), None));
    }
    let mut piece = BytesMut::with_capacity(PIECE);
    let read = tokio::select! {
        biased;
        Some(status) = connection.unreadable.heard() => return Some((Err(status), None)),
        read = connection.from_box.read_buf(&mut piece) => read,
    };
    let chunk = match read {
        Ok(0) => {
            connection.ended = true;
            BoxherdDialChunk { ended: true, ..BoxherdDialChunk::default() }
        }
        Ok(_) => BoxherdDialChunk { data: piece.freeze(), ..BoxherdDialChunk::default() },
        Err(error) => {
            let lost = format!("the connection to the box was lost: {error}");
            return Some((Err(Status::aborted(lost)), None));
        }
    };
    Some((Ok(chunk), Some(connection)))
}
