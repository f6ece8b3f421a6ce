//! Streams to agents.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use boxherd_engine::{EngineError, LinkStream};
use boxherd_model::BoxId;
use parking_lot::Mutex;

use crate::core::Core;
use crate::error::at;
use crate::handed::Handed;
use crate::start::dial;

/// An agent hangs up on who does not greet it; a stream that waits is good for this long.
const FRESH: Duration = Duration::from_secs(3);

/// How much may be on its way to an agent, in bytes.
const SEND_BUFFER: usize = 1024 * 1024;

/// The streams by which starts saw that agents answer. The first link of a box takes over its
/// stream, on which the agent has greeted already.
#[derive(Debug, Default)]
pub(crate) struct Warm {
    streams: Mutex<HashMap<BoxId, (Instant, UnixStream)>>,
}

impl Warm {
    pub(crate) fn put(&self, id: BoxId, stream: UnixStream) {
        let mut streams = self.streams.lock();
        streams.retain(|_, (since, _)| since.elapsed() < FRESH);
        streams.insert(id, (Instant::now(), stream));
    }

    pub(crate) fn take(&self, id: BoxId) -> Option<UnixStream> {
        let (since, stream) = self.streams.lock().remove(&id)?;
        (since.elapsed() < FRESH).then_some(stream)
    }
}

impl Core {
    /// A new stream to the agent of a box.
    pub(crate) fn connect(&self, id: BoxId) -> Result<Box<dyn LinkStream>, EngineError> {
        let failed = at("connect to the agent");
        let stream = match self.warm.take(id) {
            Some(stream) => stream.set_nonblocking(true).map(|()| stream),
            None => Ok(dial(&self.folder(id)).map_err(|error| self.no_stream(id, error))?),
        };
        let stream = stream.and_then(tokio::net::UnixStream::from_std).map_err(failed)?;
        // With less, whoever sends a large file waits for the agent at every few frames. A host that
        // allows no more than it gave is slower and nothing else.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER);
        // Only a box with a warden has this socket.
        match self.folder(id).orders().exists() {
            true => Ok(Box::new(Handed::by(stream))),
            false => Ok(Box::new(stream)),
        }
    }

    fn no_stream(&self, id: BoxId, error: io::Error) -> EngineError {
        if let Err(error) = self.record(id) {
            return error;
        }
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                EngineError::WrongState { op: "connect", found: "stopped" }
            }
            io::ErrorKind::WouldBlock => EngineError::Refused {
                step: "connect to the agent".to_owned(),
                source: "it accepts no more connections".into(),
                hint: Some("`boxherd restart` and `boxherd rm --force` do without it".to_owned()),
            },
            _ => at("connect to the agent")(error),
        }
    }
}
