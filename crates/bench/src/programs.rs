//! Whole processes: started, and waited for.

use std::ffi::OsString;
use std::io;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::contest::millis_since;

/// A program with its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Program(pub(crate) Vec<OsString>);

impl Program {
    pub(crate) fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self(argv.into_iter().map(Into::into).collect())
    }

    /// The same with further arguments.
    pub(crate) fn with<S: Into<OsString>>(&self, more: impl IntoIterator<Item = S>) -> Self {
        Self(self.0.iter().cloned().chain(more.into_iter().map(Into::into)).collect())
    }

    /// Runs it to its end, which must be a good one; returns how long that took, in milliseconds.
    pub(crate) fn time(&self) -> anyhow::Result<f64> {
        self.time_with(&[])
    }

    /// The same with further variables in its environment.
    pub(crate) fn time_with(&self, variables: &[(&str, OsString)]) -> anyhow::Result<f64> {
        let [program, arguments @ ..] = &self.0[..] else { bail!("no program was given") };
        let mut command = Command::new(program);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {program:?}"))?;
        let status = child.wait()?;
        let took = millis_since(start);
        if status.success() {
            return Ok(took);
        }
        let errors = child.stderr.take().map(io::read_to_string).transpose()?.unwrap_or_default();
        let last = errors.lines().last().unwrap_or("it said nothing").to_owned();
        bail!("{program:?} ended with {status}: {last}")
    }
}

/// A thread with mounts of its own, in which the v2 cgroup tree is not mounted: without that,
/// `crun` and `runc` refuse hosts on which the controllers are in the v1 trees. What it starts
/// inherits its mounts.
#[derive(Debug)]
pub(crate) struct Workshop {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    program: Program,
    answer: tokio::sync::oneshot::Sender<anyhow::Result<f64>>,
}

impl Workshop {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let (jobs, receiver) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::Builder::new().name("peers".to_owned()).spawn(move || {
            // Whoever waits for an answer that cannot be sent has gone away.
            let prepared = prepare();
            let works = prepared.is_ok();
            drop(ready.send(prepared));
            while let (true, Ok(job)) = (works, receiver.recv()) {
                drop(job.answer.send(job.program.time()));
            }
        })?;
        is_ready.recv().context("the thread of the peers ended")??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a program in it; returns how long that took, in milliseconds.
    pub(crate) async fn time(&self, program: Program) -> anyhow::Result<f64> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let jobs = self.jobs.as_ref().context("the thread of the peers ended")?;
        jobs.send(Job { program, answer }).ok().context("the thread of the peers ended")?;
        answered.await.context("the thread of the peers ended")?
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic itself.
            drop(thread.join());
        }
    }
}

fn prepare() -> anyhow::Result<()> {
    const UNIFIED: &str = "/sys/fs/cgroup/unified";
    boxherd_sys::unshare::unshare_mounts().context("no mounts of one's own")?;
    let flags = rustix::mount::UnmountFlags::DETACH;
    match rustix::mount::unmount(UNIFIED, flags) {
        // It is not mounted there: nothing is in the way.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error).context(format!("cannot unmount {UNIFIED}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_timed() {
        assert!(Program::new(["true"]).time().unwrap() > 0.0);
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let error = Program::new(["sh", "-c", "echo first >&2; echo why >&2; exit 3"]).time();
        let text = error.unwrap_err().to_string();
        assert!(text.contains("exit status: 3") && text.ends_with("why"), "{text}");
        assert!(Program::new(["no-such-program"]).time().is_err());
    }
}
