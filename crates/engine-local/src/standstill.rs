//! Making a box stand still without a freezer: by stopping its processes one by one.
//!
//! They can notice, as they could not with a freezer: whoever waits for a child sees that it was
//! stopped. It is for the length of one copy.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long processes may keep each other going.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a system call that cannot be interrupted is waited for.
const LAST_CALL: Duration = Duration::from_millis(100);

/// The processes of a box, stopped until this is dropped.
#[derive(Debug)]
pub(crate) struct Standstill {
    /// Those that this stopped. Ones that were stopped before stay so.
    stopped: Vec<std::os::fd::OwnedFd>,
}

impl Standstill {
    /// Stops the processes of the box with the first process `init`, as this process sees it.
    /// Returns once none of them runs. They may be made faster than they are found, so this looks
    /// again until all are known and still.
    pub(crate) fn begin(init: i32) -> io::Result<Self> {
        let mut this = Self { stopped: Vec::new() };
        let namespace = namespace(init)?;
        let mut known: Vec<i32> = Vec::new();
        let begun = Instant::now();
        let mut calm = None;
        while begun.elapsed() < PATIENCE {
            let found = members(&namespace)?;
            let fresh: Vec<i32> = found.iter().copied().filter(|p| !known.contains(p)).collect();
            for pid in &fresh {
                this.stop(*pid)?;
            }
            known.extend(&fresh);
            let states: Vec<_> = found.iter().filter_map(|pid| state(*pid)).collect();
            if fresh.is_empty() && !states.iter().any(|state| matches!(state, 'R' | 'S')) {
                // One that is deep in the kernel comes out of it no more. It may be waiting for a
                // child that was stopped before it could execute, and that for ever.
                let calm = *calm.get_or_insert_with(Instant::now);
                if !states.contains(&'D') || calm.elapsed() > LAST_CALL {
                    return Ok(this);
                }
            } else {
                calm = None;
            }
            // A process stops when it next runs.
            thread::yield_now();
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "they wake each other up again"))
    }

    fn stop(&mut self, pid: i32) -> io::Result<()> {
        if matches!(state(pid), None | Some('T' | 't' | 'Z' | 'X')) {
            return Ok(());
        }
        let Some(number) = Pid::from_raw(pid) else { return Ok(()) };
        let stopped = pidfd_open(number, PidfdFlags::empty())
            .and_then(|pidfd| pidfd_send_signal(&pidfd, Signal::STOP).map(|()| pidfd));
        match stopped {
            Ok(pidfd) => self.stopped.push(pidfd),
            // It has ended meanwhile.
            Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        for pidfd in &self.stopped {
            // One that has ended needs to go on no more.
            let _ = pidfd_send_signal(pidfd.as_fd(), Signal::CONT);
        }
    }
}

fn namespace(pid: i32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid"))
}

/// The processes in a namespace.
fn members(wanted: &PathBuf) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        // Others' processes do not tell, and are none of the box's.
        if let Some(pid) = pid
            && namespace(pid).is_ok_and(|namespace| namespace == *wanted)
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The letter of `/proc/PID/stat`; `None` when it has ended.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    struct Sleeper(Child);

    impl Sleeper {
        fn init(&self) -> Option<i32> {
            let children = format!("/proc/{0}/task/{0}/children", self.0.id());
            let text = fs::read_to_string(children).unwrap();
            text.split_whitespace().next().map(|pid| pid.parse().unwrap())
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            // By ourselves: `unshare` may be killed before its child has asked to go with it.
            if let Some(init) = self.init().and_then(Pid::from_raw) {
                rustix::process::kill_process(init, Signal::KILL).expect("it is there");
            }
            self.0.kill().and_then(|()| self.0.wait()).expect("its end");
        }
    }

    #[test]
    fn a_namespace_stands_still() {
        if !boxherd_testkit::root_or_skip("a_namespace_stands_still") {
            return;
        }
        let script = "while :; do sleep 0.01; done";
        let mut command = Command::new("unshare");
        let command = command.args(["--pid", "--fork", "sh", "-c", script]);
        let sleeper = Sleeper(command.spawn().unwrap());
        let own = namespace(i32::try_from(std::process::id()).unwrap()).unwrap();
        let init = loop {
            if let Some(init) = sleeper.init() {
                break init;
            }
            thread::yield_now();
        };
        let inside = namespace(init).unwrap();
        assert_ne!(inside, own);
        let standstill = Standstill::begin(init).unwrap();
        let all = members(&inside).unwrap();
        assert!(all.iter().all(|pid| !matches!(state(*pid), Some('R' | 'S'))), "{all:?}");
        drop(standstill);
    }
}
