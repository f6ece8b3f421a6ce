//! What boxes wrote to their consoles, and small files of theirs.

use boxherd_engine::{ConsoleChunk, EngineError};
use boxherd_link::console_ring;
use boxherd_lxd_client::{Error, Found, Instance};
use boxherd_model::BoxId;

use crate::error::failed;
use crate::server::Known;
use crate::{guest, marks};

/// What is read of a console at once, in bytes.
const CONSOLE_PIECE: usize = 256 * 1024;
/// The largest console that is fetched, in bytes.
const MOST_CONSOLE: usize = (console_ring::MAX_SIZE + console_ring::HEADER) as usize;

impl Known {
    /// What there is from byte `from` on.
    pub(crate) async fn console(&self, id: BoxId, from: u64) -> Result<ConsoleChunk, EngineError> {
        let (instance, info) = self.there(id).await?;
        if marks::has_cmd(&info) {
            let ring = guest::console(&instance, MOST_CONSOLE).await;
            return ring.map(|ring| piece_of_ring(&ring, from)).map_err(failed("read the console"));
        }
        // Who has not been started has no log.
        let log = match instance.console_log().await {
            Ok(log) => log,
            Err(Error::NotFound { .. }) => bytes::Bytes::new(),
            Err(error) => return Err(failed("read the console")(error)),
        };
        let end = log.len() as u64;
        let start = from.min(end);
        let data = log.slice(usize::try_from(start).unwrap_or(log.len())..);
        let data = data.slice(..data.len().min(CONSOLE_PIECE));
        Ok(ConsoleChunk { start, data, end })
    }
}

fn piece_of_ring(ring: &[u8], from: u64) -> ConsoleChunk {
    let read_at = |offset: u64, buffer: &mut [u8]| {
        let rest = usize::try_from(offset).ok().and_then(|at| ring.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    };
    // Reading what is in memory does not fail.
    let chunk = console_ring::read(read_at, from, CONSOLE_PIECE).unwrap_or_default();
    ConsoleChunk { start: chunk.start, data: chunk.data, end: chunk.end }
}

/// The content of a file of an instance, at most `most` bytes; `None` when it is not there.
pub(crate) async fn content(
    instance: &Instance,
    path: &str,
    most: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let mut body = match instance.read_file(path).await {
        Ok(Found::File(_, body)) => body,
        Ok(_) | Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    loop {
        let piece = body
            .chunk()
            .await
            .map_err(|source| Error::Io { what: format!("reading `{path}`"), source })?;
        let Some(piece) = piece else { return Ok(Some(content)) };
        let room = most - content.len();
        content.extend_from_slice(&piece[..piece.len().min(room)]);
        if content.len() == most {
            return Ok(Some(content));
        }
    }
}
