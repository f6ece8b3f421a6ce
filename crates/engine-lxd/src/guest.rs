//! The agent in an instance: put there, started, and connected to.
//!
//! The program lies in one of [`FOLDERS`] under a name that has its digest, so that another release
//! brings its own and none is put there twice. A connection is one exec of `PROGRAM relay FOLDER TTL`:
//! it is there once the agent has said its first word. Where the program is not there yet the exec
//! ends instead, and it is put there. Where it runs in none of them, [`native`] stands in for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use boxherd_agent_blob::SHA256;
use boxherd_engine::{EngineError, LinkStream, TruthState};
use boxherd_link::agent_config::{
    BESIDE, CONFIG, KEPT, KEPT_CONSOLE, KEPT_EXIT, RELAY, has_reached,
};
use boxherd_link::client::HANDSHAKE_TIMEOUT;
use boxherd_link::{ExecRequest, Link};
use boxherd_lxd_client::{Duplex, Error, ExecRequest as Program, Instance, InstanceInfo};
use boxherd_model::{BoxId, StopReason};
use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::Instant;
use uuid::Uuid;

use crate::console::content;
use crate::early::Early;
use crate::error::{failed_of, with_causes};
use crate::put::{NotPut, put};
use crate::server::Known;
use crate::{machine, native, state};

/// Where the agent may lie, the best first.
pub(crate) const FOLDERS: [&str; 3] = ["/run/boxherd", "/dev/shm/boxherd", "/var/lib/boxherd"];
/// How long an agent stays that nobody needs.
const TTL: Duration = Duration::from_secs(600);
/// How long it may take until it has said its first word.
pub(crate) const FIRST_WORD: Duration = Duration::from_secs(30);
/// How long the server may take to tell of a program that has closed its output.
const LONGEST_TELLING: Duration = Duration::from_secs(2);
/// Between looks whether an instance has been thawed.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of an exit code.
const LONGEST_EXIT: usize = 16;
/// Of what a program of the box says that failed, in bytes.
const LONGEST_SAYING: usize = 4096;
/// Bytes of its first word that are read at once.
const FIRST: usize = 4096;

/// What a running instance is spoken with through.
pub(crate) enum Connection {
    /// Its agent.
    Agent(Box<GuestStream>),
    /// The server itself.
    Native(Native),
}

/// What stands in for an agent that does not run.
pub(crate) struct Native {
    stream: DuplexStream,
    pub(crate) why: String,
    /// Whether it need not be tried again before the instance is started anew.
    pub(crate) for_good: bool,
}

impl Connection {
    pub(crate) fn into_stream(self) -> Box<dyn LinkStream> {
        match self {
            Self::Agent(stream) => stream,
            Self::Native(native) => Box::new(native.stream),
        }
    }
}

/// Connects to the agent of a running instance when it is not in `tried`, and puts it there when it is
/// nowhere. Where that cannot be, the server stands in for it. Answers where it is, too.
pub(crate) async fn settle(
    id: BoxId,
    instance: &Instance,
    info: &InstanceInfo,
    tried: &str,
) -> Result<(Connection, &'static str), EngineError> {
    let (mut refusals, mut for_good) = (Vec::new(), true);
    for folder in FOLDERS {
        if folder != tried
            && let Reached::There(stream) =
                Relay::ask(id, instance, folder).await?.answered().await?
        {
            return Ok((Connection::Agent(stream), folder));
        }
        let mark = format!("{BESIDE}{}", Uuid::now_v7().simple());
        let beside = format!("{}{mark}", program(folder));
        match put(instance, info, [folder, &beside, &mark]).await {
            Ok(()) => {}
            Err(NotPut::Never(why)) => {
                refusals = vec![why];
                break;
            }
            Err(NotPut::There(error)) => {
                // Such as a full disk, which need not stay so.
                for_good = false;
                refusals.push(format!("{folder}: {}", with_causes(&error)));
                continue;
            }
            Err(NotPut::Failed(error)) => {
                return Err(failed_of(id, "put the agent into the instance")(error));
            }
        }
        let relay = Relay::ask_for(id, instance, folder, &beside).await?;
        match relay.answered().await? {
            Reached::There(stream) => return Ok((Connection::Agent(stream), folder)),
            Reached::Not(why) => refusals.push(format!("{folder}: {why}")),
        }
        // It does not run there.
        for left in [beside, format!("{folder}/{CONFIG}{mark}")] {
            if let Err(error) = instance.delete_file(&left).await {
                tracing::debug!(%id, %error, path = %left, "a file is left");
            }
        }
    }
    let why = refusals.join("; ");
    tracing::info!(%id, %why, "no agent: the server runs its commands itself");
    let now = instance.get().await.map_err(failed_of(id, "look at the instance"))?;
    if !matches!(state::state(&now), TruthState::Running) {
        // It was stopped meanwhile, which says nothing of the agent.
        return Err(EngineError::WrongState { op: "connect", found: "stopped" });
    }
    Ok((native(instance, why, for_good), FOLDERS[0]))
}

/// A connection to an instance whose agent does not run.
pub(crate) fn native(instance: &Instance, why: String, for_good: bool) -> Connection {
    let stream = native::connect(instance.clone(), why.clone());
    Connection::Native(Native { stream, why, for_good })
}

/// A link to an instance that is frozen: it is silent until that is thawed.
pub(crate) fn connect_later(id: BoxId, instance: Instance, known: Arc<Known>) -> Early {
    let thawed = async move {
        let until = Instant::now() + HANDSHAKE_TIMEOUT;
        loop {
            let found = match state::state(&instance.get().await.map_err(looked(id))?) {
                TruthState::Running => break,
                TruthState::Suspended => "suspended",
                _ => "stopped",
            };
            if found == "stopped" || Instant::now() >= until {
                return Err(EngineError::WrongState { op: "connect", found });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(known.connect(id, machine::LONGEST_SILENCE).await?.into_stream())
    };
    Early::settling(id, Box::pin(thawed))
}

fn looked(id: BoxId) -> impl FnOnce(Error) -> EngineError {
    failed_of(id, "look at the instance")
}

/// What came of looking for an agent.
pub(crate) enum Reached {
    There(Box<GuestStream>),
    /// It cannot be run there, for that reason.
    Not(String),
}

/// The program that connects to the agent, which was asked for and has said nothing yet.
pub(crate) struct Relay {
    id: BoxId,
    pub(crate) stream: Duplex,
    code: BoxFuture<'static, Result<i32, Error>>,
}

/// What an agent has heard of what a program was told that ended without a word.
pub(crate) enum Heard {
    /// Nothing: the program was not there, or did not reach it, for that reason.
    Nothing(String),
    /// That is not known.
    Perhaps(String),
}

impl Relay {
    /// Asks for the program in a folder.
    pub(crate) async fn ask(
        id: BoxId,
        instance: &Instance,
        folder: &str,
    ) -> Result<Self, EngineError> {
        Self::ask_for(id, instance, folder, &program(folder)).await
    }

    /// The same with the program under another name.
    async fn ask_for(
        id: BoxId,
        instance: &Instance,
        folder: &str,
        program: &str,
    ) -> Result<Self, EngineError> {
        let ttl = TTL.as_secs().to_string();
        let command = [program, RELAY, folder, &ttl].map(str::to_owned);
        let request = Program { cwd: "/".to_owned(), ..Program::new(command) };
        match instance.exec_at_once(&request).await {
            Ok(exec) => {
                let code = Box::pin(exec.wait());
                Ok(Self { id, stream: exec.into_duplex(), code })
            }
            Err(error) => Err(not_run(id, instance, error).await),
        }
    }

    /// Waits for the agent's first word.
    pub(crate) async fn answered(mut self) -> Result<Reached, EngineError> {
        let mut first = vec![0; FIRST];
        let read = tokio::time::timeout(FIRST_WORD, self.stream.read(&mut first)).await;
        let count = read
            .map_err(|_| EngineError::AgentSilent { id: self.id, after: FIRST_WORD })?
            .map_err(|error| EngineError::refused("hear from the agent", error))?;
        if count > 0 {
            first.truncate(count);
            let there = GuestStream { first: first.into(), stream: self.stream };
            return Ok(Reached::There(Box::new(there)));
        }
        let (Heard::Nothing(why) | Heard::Perhaps(why)) = self.ended().await;
        Ok(Reached::Not(why))
    }

    /// Waits until the program, whose output has ended, has too.
    pub(crate) async fn ended(mut self) -> Heard {
        let told = tokio::time::timeout(LONGEST_TELLING, &mut self.code).await;
        let said = String::from_utf8_lossy(&self.stream.stderr()).trim().to_owned();
        // The server may wait until nobody can send signals any more ([`Instance::exec_at_once`]).
        drop(self.stream);
        let code = match told {
            Ok(code) => code,
            Err(_) => self.code.await,
        };
        match code {
            Ok(code) => {
                let why = match said.is_empty() {
                    true => format!("it ended with {code}"),
                    false => format!("it ended with {code}: {said}"),
                };
                match has_reached(code) {
                    true => Heard::Perhaps(why),
                    false => Heard::Nothing(why),
                }
            }
            // Servers say so in place of an exit with 127 or 126.
            Err(Error::OperationFailed { message, .. })
                if native::like_a_shell(&message).is_some() =>
            {
                Heard::Nothing(message)
            }
            Err(error) => Heard::Perhaps(error.to_string()),
        }
    }
}

/// Why the server runs nothing in an instance.
async fn not_run(id: BoxId, instance: &Instance, error: Error) -> EngineError {
    if matches!(error, Error::BadRequest { .. } | Error::Server { .. })
        && let Ok(info) = instance.get().await
    {
        let found = match state::state(&info) {
            TruthState::Stopped(_) => "stopped",
            TruthState::Suspended => "suspended",
            _ => return failed_of(id, "run the agent")(error),
        };
        return EngineError::WrongState { op: "connect", found };
    }
    failed_of(id, "run the agent")(error)
}

/// How the program of a stopped box ended, if it ended by itself.
pub(crate) async fn ending(instance: &Instance) -> Option<StopReason> {
    let path = format!("{KEPT}/{KEPT_EXIT}");
    // Of what cannot be read nothing is known.
    let content = content(instance, &path, LONGEST_EXIT).await.ok()??;
    let code = std::str::from_utf8(&content).ok()?.trim().parse().ok()?;
    Some(StopReason::Exited { code })
}

/// The ring that the agent writes what `cmd` says into, at most `most` bytes of it.
pub(crate) async fn console(instance: &Instance, most: usize) -> Result<Vec<u8>, Error> {
    let path = format!("{KEPT}/{KEPT_CONSOLE}");
    Ok(content(instance, &path, most).await?.unwrap_or_default())
}

/// Has a running box be called otherwise, as far as it knows itself.
pub(crate) async fn set_hostname(there: Connection, name: &str) -> Result<(), EngineError> {
    let step = "set the host name";
    let link = Link::open(there.into_stream()).await;
    let link = link.map_err(|error| EngineError::refused(step, error))?;
    let mut set = ExecRequest::argv(["hostname", name]);
    set.user = Some("root".to_owned());
    let ran = async { link.exec(set).await?.collect(Bytes::new(), LONGEST_SAYING).await };
    let done = ran.await.map_err(|error| EngineError::refused(step, error));
    link.close().await;
    let done = done?;
    match done.status.success() {
        true => Ok(()),
        false => {
            Err(EngineError::refused(step, String::from_utf8_lossy(&done.stderr).into_owned()))
        }
    }
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
