//! The host's side of a link: what the rest of Boxherd calls.

mod exec;
mod files;
mod line;
mod port;
mod stdin;
mod transfer;

use std::fmt;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::exec::{Exec, ExecControl, Relink};
pub use self::files::Files;
pub use self::port::PortStream;
pub use self::stdin::{ExecStdin, Unacknowledged};
pub use self::transfer::{FileReader, FileWriter};

use crate::conn::{Conn, Inbound, Role, Stream};
use crate::convert::{Millis, listener};
use crate::proto::{self, Answer, Ask, Cause, Request};
use crate::types::{
    AgentInfo, AgentStats, ExecId, ExecRequest, Listener, Offsets, Refresh, Refreshed,
};
use crate::{LinkError, Violation};

/// How long an agent may take to greet.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an agent that has greeted may take to answer a question, or to say that a command has
/// started. What takes
/// as long as it takes has no such limit: commands, the content of files, the removal of trees.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a farewell may take to be sent.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// A link to one agent. Cheap to clone; one task of the runtime drives it.
///
/// When the last clone, and everything that was made from it, is gone, the agent is told goodbye
/// and ends every command that was not [detached](Exec::detach). A program that exits should
/// [`close`](Self::close) instead: a runtime that is dropped sends nothing more, and to the agent
/// the link is then lost, not left.
#[derive(Clone)]
pub struct Link {
    conn: Conn,
}

impl Link {
    /// Greets the agent at the other end of `stream`, and does not wait until it has greeted back: the
    /// first request goes out with the greeting, which saves a round trip. An agent that is silent for
    /// `patience`, or speaks another protocol, fails what was asked for.
    #[must_use]
    pub fn begin(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        patience: Duration,
    ) -> Self {
        let hello = proto::Hello {
            protocol: proto::PROTOCOL,
            oldest_protocol: proto::OLDEST_PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: Vec::new(),
        };
        Self { conn: Conn::begin(stream, Role::Host, &hello, patience) }
    }

    /// Greets the agent at the other end of `stream` and waits until it has greeted back. Gives it
    /// [`HANDSHAKE_TIMEOUT`].
    pub async fn open(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, LinkError> {
        Self::open_within(stream, HANDSHAKE_TIMEOUT).await
    }

    /// Like [`open`](Self::open) with a limit of the caller's.
    pub async fn open_within(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        timeout: Duration,
    ) -> Result<Self, LinkError> {
        let link = Self::begin(stream, timeout);
        link.agent().await?;
        Ok(link)
    }

    /// The agent, by its own account, when it has greeted.
    pub async fn agent(&self) -> Result<AgentInfo, LinkError> {
        let theirs = self.conn.greeting().await?;
        Ok(AgentInfo {
            version: theirs.version.clone(),
            protocol: theirs.protocol.min(proto::PROTOCOL),
            features: theirs.features.clone(),
        })
    }

    /// Starts a command. Fails with [`LinkError::Refused`] when it cannot even be tried (no such
    /// user, no such directory); a program that is missing or not executable is an exit with 127
    /// or 126 and a message on its error output, as in a shell.
    pub async fn exec(&self, request: ExecRequest) -> Result<Exec, LinkError> {
        let asked = Instant::now();
        let ended = request.stdin && request.ended;
        let request = Request::Exec(request.into());
        let stream = match ended {
            true => self.conn.request_at_end(request)?,
            false => self.conn.request(request)?,
        };
        let started = Exec::start(stream, ended);
        let started = within(&self.conn, ANSWER_TIMEOUT, started).await;
        self.conn.took(asked.elapsed());
        started
    }

    /// Takes a running command over from a lost link, or from another client. Output goes on after
    /// `from`, with nothing lost and nothing repeated.
    pub async fn reattach(&self, id: ExecId, from: Offsets) -> Result<Exec, LinkError> {
        let request = proto::Reattach { id: id.0, stdout: from.stdout, stderr: from.stderr };
        let stream = self.conn.request(Request::Reattach(request))?;
        within(&self.conn, ANSWER_TIMEOUT, Exec::resume(stream, id, from)).await
    }

    /// The files of the box.
    #[must_use]
    pub fn files(&self) -> Files {
        Files::new(self.conn.clone())
    }

    /// Connects to a TCP port on the loopback of the box, IPv4 first.
    pub async fn dial(&self, port: u16) -> Result<PortStream, LinkError> {
        let request = proto::Dial { port: port.into() };
        let stream = self.conn.request(Request::Dial(request))?;
        within(&self.conn, ANSWER_TIMEOUT, PortStream::connect(stream, port)).await
    }

    /// The TCP ports on which something in the box listens, in order.
    pub async fn listening(&self) -> Result<Vec<Listener>, LinkError> {
        match ask(&self.conn, Ask::Listening(proto::Nothing {})).await? {
            Answer::Listening(list) => {
                let mut listeners: Vec<_> = list.listeners.iter().filter_map(listener).collect();
                listeners.sort_unstable();
                Ok(listeners)
            }
            _ => Err(unexpected()),
        }
    }

    /// What the agent says about the box.
    pub async fn stats(&self) -> Result<AgentStats, LinkError> {
        match ask(&self.conn, Ask::Stats(proto::Nothing {})).await? {
            Answer::Stats(stats) => Ok(stats.into()),
            _ => Err(unexpected()),
        }
    }

    /// Renews what a resumed, forked or restored box must not keep.
    pub async fn refresh(&self, refresh: Refresh) -> Result<Refreshed, LinkError> {
        match ask(&self.conn, Ask::Refresh(refresh.into())).await? {
            Answer::Refreshed(done) => {
                Ok(Refreshed { clock: done.clock, entropy_credited: done.entropy_credited })
            }
            _ => Err(unexpected()),
        }
    }

    /// Ends every process of the box (TERM, and after `grace` KILL), then the agent. Returns when
    /// the agent has gone.
    pub async fn stop(&self, grace: Duration) -> Result<(), LinkError> {
        let stop = proto::Stop { grace_ms: Millis::from(grace).0 };
        let gone = async {
            match ask_at_leisure(&self.conn, Ask::Stop(stop)).await {
                // It may be gone before its answer is out: that is what was asked for.
                Ok(Answer::Done(_)) | Err(LinkError::Lost { .. }) => {}
                Ok(_) => return Err(unexpected()),
                Err(error) => return Err(error),
            }
            self.conn.closed().await;
            Ok(())
        };
        within(&self.conn, grace.saturating_add(ANSWER_TIMEOUT), gone).await
    }

    /// Waits until the link has ended and says why.
    pub async fn closed(&self) -> LinkError {
        self.conn.closed().await
    }

    /// Says goodbye and waits until it is sent. Commands that were not detached end. An agent that
    /// does not even read is left without a word after two seconds.
    pub async fn close(&self) {
        if tokio::time::timeout(FAREWELL_TIMEOUT, self.conn.close()).await.is_err() {
            self.conn.abort(LinkError::Closed);
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("conn", &self.conn).finish()
    }
}

/// The agent answered something that is no answer to the question.
fn unexpected() -> LinkError {
    LinkError::Protocol(Violation::Malformed("an answer to another question"))
}

/// Asks one question.
async fn ask(conn: &Conn, ask: Ask) -> Result<Answer, LinkError> {
    within(conn, ANSWER_TIMEOUT, ask_at_leisure(conn, ask)).await
}

/// Asks one question whose answer may be long in coming.
async fn ask_at_leisure(conn: &Conn, ask: Ask) -> Result<Answer, LinkError> {
    let asked = Instant::now();
    let stream = conn.request(Request::Call(proto::Call { ask: Some(ask) }))?;
    let answer = answer(&stream).await;
    conn.took(asked.elapsed());
    answer
}

/// What comes of `answered`, unless the agent is silent for too long after its greeting.
async fn within<T>(
    conn: &Conn,
    after: Duration,
    answered: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let mut answered = pin!(answered);
    tokio::select! {
        biased;
        // First, so that what is asked goes out with our greeting.
        answered = &mut answered => return answered,
        greeting = conn.greeting() => greeting?,
    };
    tokio::time::timeout(after, answered).await.unwrap_or(Err(LinkError::Silent { after }))
}

/// The next control message on a stream on which no data is due.
async fn answer(stream: &Stream) -> Result<Answer, LinkError> {
    match stream.recv().await? {
        Inbound::Message(message) => decode(message),
        Inbound::Data { .. } => Err(unexpected()),
        Inbound::End | Inbound::Reset => Err(gave_up()),
    }
}

fn gave_up() -> LinkError {
    LinkError::Refused { message: "the agent gave the request up".to_owned() }
}

/// Turns failures into errors; those of files are given their operation and path by the caller.
fn decode(message: Bytes) -> Result<Answer, LinkError> {
    let malformed = || LinkError::Protocol(Violation::Malformed("a reply"));
    let reply = proto::Reply::decode(message).map_err(|_| malformed())?;
    let failure = match reply.answer.ok_or_else(malformed)? {
        Answer::Failure(failure) => failure,
        answer => return Ok(answer),
    };
    Err(match failure.cause() {
        Cause::Errno => LinkError::File { op: "", path: "".into(), errno: failure.errno },
        Cause::Unsupported => LinkError::Feature { feature: shown(&failure.message) },
        Cause::UnknownExec => LinkError::UnknownExec { id: ExecId(0) },
        Cause::OutputGone => LinkError::OutputGone { id: ExecId(0) },
        Cause::TakenOver => LinkError::TakenOver,
        Cause::Refused => LinkError::Refused { message: shown(&failure.message) },
    })
}

/// A text of the box, fit to be shown: short, and without characters that drive a terminal.
fn shown(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { '?' } else { c }).collect()
}
