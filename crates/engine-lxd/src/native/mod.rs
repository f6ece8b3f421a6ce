//! Boxes in which the agent does not run: another architecture, no folder that programs may be in.
//!
//! The server itself runs programs and moves files there. It is spoken with here as if it were the
//! agent, at the other end of a link, so that nobody else has to know. What it cannot do is refused
//! by name, with the reason why the agent does not run. A command costs three round trips and more
//! instead of one, is gone with its link, and its exit by a signal is the code 128 and its number.
//! Start with [`connect`], then read [`exec`] and [`files`].

mod exec;
mod files;

use std::sync::Arc;

pub(crate) use exec::like_a_shell;

use boxherd_link::client::HANDSHAKE_TIMEOUT;
use boxherd_link::conn::{Conn, Role, Stream};
use boxherd_link::proto::{self, Answer, Ask, Cause, Failure, Request};
use boxherd_link::{NATIVE, proto::Open};
use boxherd_lxd_client::{Error, Instance};
use bytes::Bytes;
use prost::Message as _;
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use crate::error::with_causes;

/// Bytes on their way between the two ends of the link.
const BUFFER: usize = 256 * 1024;

/// A running instance without an agent, and why it has none.
#[derive(Debug)]
struct Native {
    instance: Instance,
    why: String,
}

/// A link to what stands in for the agent of a running instance; `why` it is not there.
pub(crate) fn connect(instance: Instance, why: String) -> DuplexStream {
    let (near, far) = tokio::io::duplex(BUFFER);
    tokio::spawn(serve(Arc::new(Native { instance, why }), far));
    near
}

/// Serves one link until it ends, and then ends what runs.
async fn serve(native: Arc<Native>, far: DuplexStream) {
    let hello = proto::Hello {
        protocol: proto::PROTOCOL,
        oldest_protocol: proto::OLDEST_PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: vec![format!("{NATIVE}{}", native.why)],
    };
    let conn = match Conn::open(far, Role::Agent, &hello, HANDSHAKE_TIMEOUT).await {
        Ok((conn, _)) => conn,
        Err(error) => return tracing::debug!(%error, "nobody at a native link"),
    };
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = conn.accept() => match accepted {
                Ok(Some((stream, open))) => {
                    answers.spawn(Arc::clone(&native).answer(stream, open));
                }
                Ok(None) | Err(_) => return,
            },
            Some(_) = answers.join_next() => {}
        }
    }
}

impl Native {
    async fn answer(self: Arc<Self>, stream: Stream, open: Bytes) {
        let request = Open::decode(open).ok().and_then(|open| open.request);
        match request {
            Some(Request::Exec(exec)) => self.exec(stream, &exec).await,
            // Commands end with the link that they were begun over.
            Some(Request::Reattach(_)) => end(&stream, failure(Cause::UnknownExec, 0, "")),
            Some(Request::Read(read)) => self.read(stream, &read).await,
            Some(Request::Write(write)) => self.write(stream, &write).await,
            Some(Request::List(path)) => self.list(stream, &path).await,
            Some(Request::Call(proto::Call { ask: Some(ask) })) => match self.call(&ask).await {
                Ok(answer) => stream.end(answer),
                Err(failure) => end(&stream, failure),
            },
            Some(Request::Dial(_)) => end(&stream, self.not_here("connecting to its ports")),
            Some(Request::TarOut(_) | Request::TarIn(_)) => {
                end(&stream, self.not_here("copying a tree of files"));
            }
            Some(Request::Call(_)) | None => end(&stream, self.not_here("this request")),
        }
    }

    async fn call(&self, ask: &Ask) -> Result<Answer, Failure> {
        let what = match ask {
            Ask::StatVfs(_) => "looking at its file system",
            Ask::Truncate(_) => "truncating a file",
            Ask::SetTimes(_) => "setting the times of a file",
            Ask::Listening(_) => "listing its ports",
            Ask::Stats(_) => "measuring it from inside",
            Ask::Refresh(_) => "renewing its identity",
            Ask::Stop(_) => "stopping its agent",
            ask => return self.about_files(ask).await,
        };
        Err(self.not_here(what))
    }

    /// What only an agent can do.
    fn not_here(&self, what: &str) -> Failure {
        refused(format!("{what} needs the agent, which does not run in this box: {}", self.why))
    }
}

fn end(stream: &Stream, failure: Failure) {
    stream.end(Answer::Failure(failure));
}

fn failure(cause: Cause, errno: i32, message: impl Into<String>) -> Failure {
    Failure { cause: cause.into(), errno, message: message.into() }
}

fn refused(message: impl Into<String>) -> Failure {
    failure(Cause::Refused, 0, message)
}

/// What the server says of a file or a command.
fn failed(error: &Error) -> Failure {
    const ENOENT: i32 = 2;
    match error {
        Error::NotFound { .. } => failure(Cause::Errno, ENOENT, error.to_string()),
        _ => refused(with_causes(error)),
    }
}

/// A path or an argument as the server's JSON has it.
fn text<'bytes>(bytes: &'bytes [u8], what: &str) -> Result<&'bytes str, Failure> {
    std::str::from_utf8(bytes)
        .map_err(|_| refused(format!("{what} is not UTF-8, which the server takes only")))
}
