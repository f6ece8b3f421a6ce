//! The agent in an instance: put there, started, and connected to.
//!
//! The program lies in one of [`FOLDERS`] under a name that has its digest, so that another release
//! brings its own and none is put there twice. A connection is one exec of `PROGRAM relay FOLDER TTL`:
//! it is there once the agent has said its first word. Where the program is not there yet the exec
//! ends instead, and it is put there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use boxherd_agent_blob::{AGENT, SHA256};
use boxherd_engine::EngineError;
use boxherd_link::agent_config::RELAY;
use boxherd_lxd_client::{Duplex, ExecRequest, FileMeta, Instance, NewFile};
use boxherd_model::BoxId;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::error::{failed, failed_of};

/// Where the agent may lie, the best first.
const FOLDERS: [&str; 3] = ["/run/boxherd", "/dev/shm/boxherd", "/var/lib/boxherd"];
/// How long an agent stays that nobody needs.
const TTL: Duration = Duration::from_secs(600);
/// How long it may take until it has said its first word.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of its first word that are read at once.
const FIRST: usize = 4096;

/// Connects to the agent of a running instance, and puts it there when it is not.
pub(crate) async fn connect(id: BoxId, instance: &Instance) -> Result<GuestStream, EngineError> {
    let mut refusals = Vec::new();
    for folder in FOLDERS {
        match reach(id, instance, folder).await? {
            Reached::There(stream) => return Ok(stream),
            Reached::Not(_) => {}
        }
        if let Err(error) = push(instance, folder).await {
            refusals.push(format!("{folder}: {error}"));
            continue;
        }
        match reach(id, instance, folder).await? {
            Reached::There(stream) => return Ok(stream),
            Reached::Not(why) => refusals.push(format!("{folder}: {why}")),
        }
    }
    Err(EngineError::refused("start the agent in the instance", refusals.join("; ")))
}

enum Reached {
    There(GuestStream),
    /// It cannot be run there, for that reason.
    Not(String),
}

async fn reach(id: BoxId, instance: &Instance, folder: &str) -> Result<Reached, EngineError> {
    let ttl = TTL.as_secs().to_string();
    let command = [program(folder).as_str(), RELAY, folder, &ttl].map(str::to_owned);
    let request = ExecRequest { cwd: "/".to_owned(), ..ExecRequest::new(command) };
    let exec = instance.exec(&request).await.map_err(failed_of(id, "run the agent"))?;
    let ended = exec.wait();
    let mut stream = exec.into_duplex();
    let mut first = vec![0; FIRST];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut first)).await;
    let count = read
        .map_err(|_| EngineError::AgentSilent { id, after: PATIENCE })?
        .map_err(|error| EngineError::refused("hear from the agent", error))?;
    if count > 0 {
        first.truncate(count);
        return Ok(Reached::There(GuestStream { first: first.into(), stream }));
    }
    let said = String::from_utf8_lossy(&stream.stderr()).trim().to_owned();
    Ok(Reached::Not(match ended.await {
        Ok(code) if said.is_empty() => format!("it ended with {code}"),
        Ok(code) => format!("it ended with {code}: {said}"),
        Err(error) => error.to_string(),
    }))
}

async fn push(instance: &Instance, folder: &str) -> Result<(), EngineError> {
    let only_root = FileMeta { uid: 0, gid: 0, mode: 0o700 };
    let step = "put the agent into the instance";
    instance.make_directory(folder, only_root).await.map_err(failed(step))?;
    let file = NewFile::with(only_root);
    let content = Bytes::from_static(AGENT);
    instance.write_file(&program(folder), file, content).await.map_err(failed(step))
}

fn program(folder: &str) -> String {
    format!("{folder}/agent-{}", &SHA256[..16])
}

/// The link to an agent, of which the first word has been read.
#[derive(Debug)]
pub(crate) struct GuestStream {
    first: Bytes,
    stream: Duplex,
}

impl AsyncRead for GuestStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            let count = self.first.remaining().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
