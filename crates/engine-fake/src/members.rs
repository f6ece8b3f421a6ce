//! Which processes of this machine belong to a box.
//!
//! The thread of its agent has a UTS namespace of its own, which everything it starts inherits for
//! good, whatever session it moves to and whoever its parent dies of. Without the privilege for
//! that, only the commands that the agent itself knows are ended.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Between two looks at the table of processes.
const LOOK: Duration = Duration::from_millis(2);

/// The processes of one box.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    namespace: Option<Namespace>,
}

#[derive(Debug, Clone)]
struct Namespace {
    name: PathBuf,
    /// The kernel gives the number in the name to another namespace as soon as nobody holds this one:
    /// what is sent to members of a box that has ended would meet those of another, perhaps of
    /// another test.
    _held: Arc<File>,
}

impl Members {
    /// Everything that the calling thread starts from now on.
    pub(crate) fn of_this_thread() -> io::Result<Self> {
        match boxherd_sys::unshare::unshare_uts() {
            Ok(()) => {
                let own = "/proc/thread-self/ns/uts";
                let (held, name) = (File::open(own)?, fs::read_link(own)?);
                Ok(Self { namespace: Some(Namespace { name, _held: Arc::new(held) }) })
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(Self { namespace: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to each.
    pub(crate) fn signal(&self, signal: Signal) {
        for pid in self.pids() {
            // It may have ended since it was seen.
            let _ = kill_process(pid, signal);
        }
    }

    /// Stops each, and those that they start meanwhile.
    pub(crate) fn freeze(&self) {
        let mut before = Vec::new();
        loop {
            let now = self.pids();
            if now == before && now.iter().all(|pid| stands_still(*pid)) {
                return;
            }
            self.signal(Signal::STOP);
            before = now;
            std::thread::sleep(LOOK);
        }
    }

    /// Lets each go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks each to end, and kills those that have not after `grace`. Returns when all are gone.
    pub(crate) fn end(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.signal(Signal::TERM);
        while !self.pids().is_empty() {
            if Instant::now() >= deadline {
                self.signal(Signal::KILL);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn pids(&self) -> Vec<Pid> {
        let Some(namespace) = &self.namespace else { return Vec::new() };
        let own = rustix::process::getpid();
        // A table that cannot be read is empty: then nothing was started either.
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids =
            entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        // A process that has ended has no namespace any more.
        pids.filter(|pid| *pid != own && uts(*pid).as_ref() == Some(&namespace.name)).collect()
    }
}

fn uts(pid: Pid) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/uts")).ok()
}

/// Whether a process that was sent SIGSTOP runs nothing of its own any more. One that waits in the
/// kernel, such as for the exec of a child that stands still itself, stops before it returns.
fn stands_still(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:\t"));
    state.is_none_or(|state| state.starts_with(['T', 't', 'D', 'Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_a_thread_of_its_own() -> Members {
        std::thread::spawn(|| Members::of_this_thread().unwrap()).join().unwrap()
    }

    #[test]
    fn a_box_that_has_ended_is_not_taken_for_a_later_one() {
        if !boxherd_testkit::root_or_skip("a_box_that_has_ended_is_not_taken_for_a_later_one") {
            return;
        }
        let name = |members: &Members| members.namespace.as_ref().unwrap().name.clone();
        let ended = on_a_thread_of_its_own();
        for _ in 0..50 {
            assert_ne!(name(&on_a_thread_of_its_own()), name(&ended));
        }
    }
}
