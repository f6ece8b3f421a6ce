//! Learning how children ended.
//!
//! Inside another program each child is awaited by its pidfd, so that the children of others are
//! left alone. As process 1 the agent must reap everything, including orphans it never started;
//! then one place reaps, and hands each exit to whoever started the child.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use boxherd_link::ExitStatus;
use boxherd_sys::spawn::{Child, Spawn, SpawnError, Step, spawn, spawn_to_reap};
use boxherd_sys::watch::Watched;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, wait, waitid};
use tokio::sync::{Notify, oneshot};

use crate::lock;

/// Who reaps.
#[derive(Debug, Clone)]
pub struct Children {
    registry: Option<Arc<Registry>>,
}

#[derive(Debug, Default)]
struct Registry {
    waiting: Mutex<HashMap<i32, oneshot::Sender<ExitStatus>>>,
    reaped: Notify,
}

/// Resolves to how one child ended.
#[derive(Debug)]
pub struct ExitWait(Wait);

#[derive(Debug)]
enum Wait {
    Pidfd(Watched),
    Reaped(oneshot::Receiver<ExitStatus>),
}

impl Children {
    /// Waits for each child by itself.
    #[must_use]
    pub fn by_pidfd() -> Self {
        Self { registry: None }
    }

    /// Leaves the reaping to [`reap`](Self::reap), which must be called after every SIGCHLD.
    #[must_use]
    pub fn by_reaper() -> Self {
        Self { registry: Some(Arc::default()) }
    }

    /// Starts a program. Must be called within a tokio runtime.
    pub fn spawn(&self, request: &Spawn<'_>) -> Result<(Pid, ExitWait), SpawnError> {
        let Some(registry) = &self.registry else {
            let Child { pid, pidfd } = spawn(request)?;
            let wait =
                Watched::new(pidfd).map_err(|source| SpawnError { step: Step::Clone, source })?;
            return Ok((pid, ExitWait(Wait::Pidfd(wait))));
        };
        // Held across the start, so that an exit is not reaped before it is waited for.
        let mut waiting = lock(&registry.waiting);
        let pid = spawn_to_reap(request)?;
        let (sender, receiver) = oneshot::channel();
        waiting.insert(pid.as_raw_nonzero().get(), sender);
        Ok((pid, ExitWait(Wait::Reaped(receiver))))
    }

    /// Reaps every child that has ended, ours and orphans.
    pub fn reap(&self) {
        let Some(registry) = &self.registry else { return };
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let ended = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitStatus::Code(code),
                (None, Some(signal)) => ExitStatus::Signal(signal),
                (None, None) => continue,
            };
            if let Some(sender) = lock(&registry.waiting).remove(&pid.as_raw_nonzero().get()) {
                // Nobody may care any more.
                let _: Result<(), ExitStatus> = sender.send(ended);
            }
        }
        registry.reaped.notify_waiters();
    }

    /// Waits until something was reaped.
    pub(crate) async fn reaped(&self) {
        match &self.registry {
            Some(registry) => registry.reaped.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl ExitWait {
    /// Whether the child has ended, and how.
    pub(crate) fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        match &mut self.0 {
            Wait::Reaped(receiver) => {
                Pin::new(receiver).poll(cx).map_err(|_| io::Error::other("the reaper is gone"))
            }
            Wait::Pidfd(pidfd) => loop {
                let mut guard = ready!(pidfd.poll_read_ready(cx))?;
                match exit_of(pidfd)? {
                    Some(status) => return Poll::Ready(Ok(status)),
                    None => guard.clear_ready(),
                }
            },
        }
    }

    /// Waits until the child has ended.
    pub async fn wait(mut self) -> io::Result<ExitStatus> {
        poll_fn(|cx| self.poll_exit(cx)).await
    }
}

fn exit_of(pidfd: &Watched) -> io::Result<Option<ExitStatus>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let Some(status) = waitid(WaitId::PidFd(pidfd.as_fd()), options)? else { return Ok(None) };
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(ExitStatus::Code(code)),
        (None, Some(signal)) => Some(ExitStatus::Signal(signal)),
        (None, None) => None,
    })
}
