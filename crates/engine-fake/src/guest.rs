//! The running part of a box: the real agent on a thread of its own.
//!
//! A thread of its own, since a thread can stand still: a suspended box is an agent whose thread
//! waits and processes that are stopped.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use boxherd_agent::{Agent, AgentConfig};
use boxherd_engine::{EngineError, LinkStream};
use boxherd_model::{BoxSpec, StopReason};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::console::Console;
use crate::main_program;
use crate::members::Members;

/// What a socket between host and box would hold, in bytes.
const SOCKET: usize = 256 * 1024;

/// The agent of a box and what it started. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Closed, it ends the thread.
    asks: Option<UnboundedSender<Ask>>,
    thread: Option<JoinHandle<()>>,
    members: Members,
    ended: Arc<OnceLock<StopReason>>,
    /// Dropped, it lets a thread that stands still go on.
    frozen: Option<mpsc::Sender<()>>,
}

/// What the thread is asked for.
#[derive(Debug)]
enum Ask {
    /// Serve a link.
    Serve(DuplexStream),
    /// Say so, and stand still until the other end of the second channel is gone.
    Freeze(mpsc::Sender<()>, mpsc::Receiver<()>),
}

impl Guest {
    /// Starts the agent, and the main program if there is one.
    pub(crate) fn start(spec: &BoxSpec, disk: PathBuf, console: Console) -> io::Result<Self> {
        let (asks, asked) = unbounded_channel();
        let (started, starts) = mpsc::channel();
        let ended = Arc::new(OnceLock::new());
        let (spec, report) = (spec.clone(), Arc::clone(&ended));
        let thread =
            thread::Builder::new().name(format!("agent of {}", spec.name)).spawn(move || {
                match confine() {
                    Ok(members) => {
                        // Nobody waits any more when the engine is gone already.
                        drop(started.send(Ok(members.clone())));
                        let reason = live(&spec, disk, console, asked).unwrap_or(StopReason::Agent);
                        members.end(Duration::ZERO);
                        // It is set here only.
                        let _ = report.set(reason);
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })?;
        let gone = |_| io::Error::other("the thread of the agent ended");
        let members = starts.recv().map_err(gone)??;
        Ok(Self { asks: Some(asks), thread: Some(thread), members, ended, frozen: None })
    }

    /// Why it ended by itself; `None` while it runs.
    pub(crate) fn ended(&self) -> Option<StopReason> {
        self.ended.get().copied()
    }

    pub(crate) fn connect(&self) -> Result<Box<dyn LinkStream>, EngineError> {
        let (ours, theirs) = duplex(SOCKET);
        match self.ask(Ask::Serve(theirs)) {
            true => Ok(Box::new(ours)),
            false => Err(EngineError::WrongState { op: "connect", found: "stopped" }),
        }
    }

    /// Everything stands still when this returns. Blocks for some milliseconds.
    pub(crate) fn suspend(&mut self) {
        let ((thaw, wait), (say, said)) = (mpsc::channel(), mpsc::channel());
        if self.ask(Ask::Freeze(say, wait)) && said.recv().is_ok() {
            self.frozen = Some(thaw);
            self.members.freeze();
        }
    }

    pub(crate) fn resume(&mut self) {
        self.members.thaw();
        self.frozen = None;
    }

    /// Ends everything. Blocks up to `grace` and some milliseconds more.
    pub(crate) fn stop(mut self, grace: Duration) {
        self.resume();
        self.members.end(grace);
    }

    fn ask(&self, ask: Ask) -> bool {
        self.asks.as_ref().is_some_and(|asks| asks.send(ask).is_ok())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.resume();
        self.asks = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the agent of a fake box panicked");
        }
    }
}

/// Keeps the calling thread, the agent's, from what a refresh would do to the host: its host name
/// becomes one of its own, and it may not set the clock.
fn confine() -> io::Result<Members> {
    let members = Members::of_this_thread()?;
    let mut own = capabilities(None)?;
    own.effective.remove(CapabilitySet::SYS_TIME);
    own.permitted.remove(CapabilitySet::SYS_TIME);
    set_capabilities(None, own)?;
    Ok(members)
}

/// The life of the thread: until its engine lets it go, or the main program has ended for good.
fn live(
    spec: &BoxSpec,
    disk: PathBuf,
    console: Console,
    mut asked: UnboundedReceiver<Ask>,
) -> io::Result<StopReason> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reason = runtime.block_on(async {
        let agent = Agent::new(AgentConfig { root: disk, ..AgentConfig::default() })?;
        let serving = agent.clone();
        let serve = async move {
            while let Some(ask) = asked.recv().await {
                act(&serving, ask);
            }
        };
        let reason = tokio::select! {
            code = main_program::run(&agent, spec, console) => StopReason::Exited { code },
            () = serve => StopReason::Requested,
            // Over a link.
            () = agent.stopped() => StopReason::Requested,
        };
        agent.stop(Duration::ZERO).await;
        io::Result::Ok(reason)
    })?;
    // Files that are being written are left to themselves.
    runtime.shutdown_background();
    Ok(reason)
}

fn act(agent: &Agent, ask: Ask) {
    match ask {
        Ask::Serve(stream) => {
            let agent = agent.clone();
            tokio::spawn(async move { agent.serve(stream).await });
        }
        // Blocks the thread, and with it every task of the agent: that is the point.
        Ask::Freeze(say, wait) => {
            // Whoever is gone meanwhile does not want it to stand still any more.
            let _ = say.send(());
            let _ = wait.recv();
        }
    }
}
