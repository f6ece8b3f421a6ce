//! The program inside every box: it serves links (exec, files, connections, facts about the box)
//! and, as process 1, does what an init must.
//!
//! The library is the agent without the init: it assumes nothing about its process and can be run
//! inside another program, as the fake engine does. Start reading in [`Agent::serve`], then
//! `exec/job.rs`. What only the program does (descriptors, `cmd`, console, reaping) is in
//! [`init`].
//!
//! The agent trusts whoever holds the link, which is the host. It does not trust the box: a process
//! of the box is something to be run and observed, and its files are resolved like any user's.

mod call;
mod children;
mod dial;
mod exec;
mod files;
mod gate;
mod guest;
pub mod init;
mod ports;
mod refresh;
mod stats;
mod stop;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use boxherd_link::conn::{Conn, Role, Stream};
use boxherd_link::proto::{self, Answer, Cause, Failure, Request};
use boxherd_link::{CmdStats, LinkError};
use bytes::Bytes;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::watch;

pub use crate::children::Children;

/// How long a client may take to greet.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How an agent behaves.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Below which directory the box's paths are: `/` in a box. Elsewhere absolute symbolic links
    /// lead out of it, so this is for tests only.
    pub root: PathBuf,
    /// Who reaps the children.
    pub children: Children,
    /// Whether this is process 1 of a box: `stop` then ends every process there is.
    pub process_one: bool,
    /// What a command gets that does not ask for another.
    pub defaults: Defaults,
}

/// What the image and the spec of a box say of every command in it.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// The environment; a command's own variables come after it.
    pub env: Vec<proto::Env>,
    /// The folder; the user's home when there is none.
    pub workdir: Option<String>,
    /// The user; root when there is none.
    pub user: Option<String>,
}

impl Defaults {
    /// `exec` with what it does not say itself.
    fn under(&self, exec: &proto::Exec) -> proto::Exec {
        let mut filled = exec.clone();
        filled.env = self.env.iter().chain(&exec.env).cloned().collect();
        let workdir = || self.workdir.clone().map(String::into_bytes);
        filled.workdir = filled.workdir.or_else(workdir);
        filled.user = filled.user.or_else(|| self.user.clone());
        filled
    }
}

impl Default for AgentConfig {
    fn default() -> Self {
        let (children, root) = (Children::by_pidfd(), PathBuf::from("/"));
        let defaults = Defaults::default();
        Self { root, children, process_one: false, defaults }
    }
}

/// An agent. Cheap to clone; commands belong to it, not to the link that started them.
#[derive(Debug, Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    config: AgentConfig,
    jobs: Mutex<HashMap<u64, exec::JobHandle>>,
    null: File,
    started: Instant,
    cmd: Mutex<Option<CmdStats>>,
    stopped: watch::Sender<bool>,
    /// Counts how often every link was to be let go of.
    parked: watch::Sender<u64>,
}

/// Locks without regard to poison: what the agent keeps is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    /// An agent with no link yet. Fails when `/dev/null` cannot be opened.
    pub fn new(config: AgentConfig) -> io::Result<Self> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let inner = Inner {
            config,
            jobs: Mutex::default(),
            null,
            started: Instant::now(),
            cmd: Mutex::default(),
            stopped: watch::Sender::new(false),
            parked: watch::Sender::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Serves links until the agent is told to stop.
    pub async fn run(&self, listener: UnixListener) -> io::Result<()> {
        loop {
            let accepted = tokio::select! {
                () = self.stopped() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let agent = self.clone();
                    tokio::spawn(async move { agent.serve(stream).await });
                }
                // A client that left before it was accepted, or a shortage that passes.
                Err(error) if is_passing(&error) => tokio::time::sleep(RETRY_ACCEPT).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether any command runs, watched or not.
    fn is_busy(&self) -> bool {
        lock(&self.inner.jobs).values().any(|job| job.runs())
    }

    /// Ends every link as if it were lost.
    fn let_go_of_links(&self) {
        self.inner.parked.send_modify(|times| *times += 1);
    }

    /// Serves one link until it ends, and says why it ended.
    pub async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> LinkError {
        let hello = proto::Hello {
            protocol: proto::PROTOCOL,
            oldest_protocol: proto::OLDEST_PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: ["reattach", "tar", "refresh"].map(str::to_owned).to_vec(),
        };
        let mut parked = self.inner.parked.subscribe();
        let opened = tokio::select! {
            opened = Conn::open(stream, Role::Agent, &hello, HANDSHAKE_TIMEOUT) => opened,
            _ = parked.changed() => return let_go(),
        };
        let conn = match opened {
            Ok((conn, _theirs)) => conn,
            Err(error) => return error,
        };
        loop {
            let accepted = tokio::select! {
                () = self.stopped() => {
                    conn.close().await;
                    break LinkError::Closed;
                }
                _ = parked.changed() => {
                    conn.abort(let_go());
                    break let_go();
                }
                accepted = conn.accept() => accepted,
            };
            match accepted {
                Ok(Some((stream, open))) => self.answer(stream, open),
                Ok(None) => break LinkError::Closed,
                Err(error) => break error,
            }
        }
    }

    /// Waits until the agent has been told to stop, and has ended what ran.
    pub async fn stopped(&self) {
        // The sender lives in `self`, so this cannot fail.
        drop(self.inner.stopped.subscribe().wait_for(|stopped| *stopped).await);
    }

    /// Ends every command (TERM, and after `grace` KILL), then [`run`](Self::run).
    pub async fn stop(&self, grace: Duration) {
        stop::stop(&self.inner, grace).await;
        self.inner.stopped.send_replace(true);
    }

    fn answer(&self, stream: Stream, open: Bytes) {
        let inner = Arc::clone(&self.inner);
        let request = proto::Open::decode(open).ok().and_then(|open| open.request);
        match request {
            Some(Request::Exec(exec)) => exec::start(&inner, stream, &exec),
            Some(Request::Reattach(reattach)) => exec::reattach(&inner, stream, reattach),
            Some(Request::Call(call)) => drop(tokio::spawn(call::answer(inner, stream, call))),
            Some(Request::Dial(dial)) => drop(tokio::spawn(dial::dial(stream, dial))),
            Some(Request::Read(read)) => drop(tokio::spawn(files::read(inner, stream, read))),
            Some(Request::Write(write)) => drop(tokio::spawn(files::write(inner, stream, write))),
            Some(Request::List(path)) => drop(tokio::spawn(files::list(inner, stream, path))),
            Some(Request::TarOut(path)) => drop(tokio::spawn(files::tar_out(inner, stream, path))),
            Some(Request::TarIn(tar)) => drop(tokio::spawn(files::tar_in(inner, stream, tar))),
            None => stream.end(failure(Cause::Unsupported, 0, "this request")),
        }
    }
}

/// Why a link ends when memory is about to be saved.
fn let_go() -> LinkError {
    LinkError::Lost { reason: "the box's memory is being saved".to_owned() }
}

impl Inner {
    /// Where a path of the box is for this process.
    fn place(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let relative = path.strip_prefix("/").unwrap_or(path);
        if self.config.root == Path::new("/") {
            return Path::new("/").join(path);
        }
        self.config.root.join(relative)
    }
}

/// Before the next try to accept when there are no descriptors or no memory.
pub(crate) const RETRY_ACCEPT: Duration = Duration::from_millis(100);

pub(crate) fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::PERM,
        Errno::AGAIN,
    ];
    passing.iter().any(|errno| Some(errno.raw_os_error()) == error.raw_os_error())
}

fn failure(cause: Cause, errno: i32, message: impl Into<String>) -> Answer {
    Answer::Failure(Failure { cause: cause.into(), errno, message: message.into() })
}

/// The answer to something that failed with an error number; EIO stands for errors without one.
fn io_failure(error: &io::Error) -> Answer {
    const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
    failure(Cause::Errno, error.raw_os_error().unwrap_or(EIO), error.to_string())
}

/// The answer to something that either was done or was not.
fn done(result: io::Result<()>) -> Answer {
    match result {
        Ok(()) => Answer::Done(proto::Nothing {}),
        Err(error) => io_failure(&error),
    }
}
