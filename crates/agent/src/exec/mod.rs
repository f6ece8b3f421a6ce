//! Commands: starting them, and finding them again.

mod command;
mod input;
mod job;
pub(crate) mod output;
mod replay;
mod start;

use std::sync::Arc;

use boxherd_link::conn::Stream;
use boxherd_link::proto::{self, Cause};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::mpsc;

use self::job::{Attach, Job};
pub(crate) use self::start::start_cmd;
use crate::{Inner, failure, lock};

/// How to reach a command that runs, or has ended and was not heard of yet.
#[derive(Debug)]
pub(crate) struct JobHandle {
    attach: mpsc::UnboundedSender<Attach>,
    /// Its process group, until it has been reaped.
    group: Option<Pid>,
}

impl JobHandle {
    /// Whether the command has not ended.
    pub(crate) fn runs(&self) -> bool {
        self.group.is_some()
    }
}

/// Starts a command and serves it on `stream`.
pub(crate) fn start(inner: &Arc<Inner>, stream: Stream, exec: &proto::Exec) {
    match start::start(inner, exec) {
        Ok(started) => {
            let (sender, attach) = mpsc::unbounded_channel();
            let mut jobs = lock(&inner.jobs);
            let id = unused_id(|id| jobs.contains_key(&id));
            jobs.insert(id, JobHandle { attach: sender, group: started.group() });
            drop(jobs);
            let job = Job::new(Arc::clone(inner), id, started, attach);
            tokio::spawn(job.run(stream));
        }
        Err(answer) => stream.end(*answer),
    }
}

/// Hands `stream` to a command that was started on another.
pub(crate) fn reattach(inner: &Arc<Inner>, stream: Stream, request: proto::Reattach) {
    let from = [request.stdout, request.stderr];
    let unknown = |stream: Stream| stream.end(failure(Cause::UnknownExec, 0, ""));
    let sender = lock(&inner.jobs).get(&request.id).map(|job| job.attach.clone());
    match sender {
        Some(sender) => {
            if let Err(mpsc::error::SendError(attach)) = sender.send(Attach { stream, from }) {
                unknown(attach.stream);
            }
        }
        None => unknown(stream),
    }
}

/// Signals the process group of every command.
pub(crate) fn signal_jobs(inner: &Inner, signal: Signal) {
    for group in lock(&inner.jobs).values().filter_map(|job| job.group) {
        signal_group(group, signal);
    }
}

/// Signals a process group that has not been reaped.
fn signal_group(group: Pid, signal: Signal) {
    // The group may have ended just now, and a process that changed its user may be out of reach
    // for an agent that is not root: neither leaves anything to be done.
    let _: Result<(), Errno> = kill_process_group(group, signal);
}

fn unused_id(taken: impl Fn(u64) -> bool) -> u64 {
    loop {
        let mut bytes = [0; 8];
        let flags = rustix::rand::GetRandomFlags::empty();
        let filled = rustix::rand::getrandom(&mut bytes, flags).unwrap_or(0);
        let id = u64::from_le_bytes(bytes);
        if filled == bytes.len() && !taken(id) {
            return id;
        }
    }
}
