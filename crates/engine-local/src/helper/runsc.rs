//! gVisor's program, as a warden drives it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, waitpid,
};

use super::jail::RUNSC;
use super::wire::Failure;

/// What gVisor knows the box as.
const NAME: &str = "box";
/// Where gVisor says what went wrong.
const ERRORS: &str = "/state/errors";
/// Where gVisor says which process the box is.
const PID: &str = "/state/pid";

/// A running box, seen from outside: a process, which becomes a child of the warden because the
/// program that started it has ended.
#[derive(Debug)]
pub(super) struct Sandbox {
    networked: bool,
    pid: Pid,
    pidfd: OwnedFd,
    /// How it ended, once it was waited for.
    ended: Option<WaitStatus>,
}

impl Sandbox {
    /// Starts the box, or brings back what was saved of it.
    pub(super) fn begin(
        networked: bool,
        restore: bool,
        config: OwnedFd,
        console: OwnedFd,
    ) -> Result<Self, Failure> {
        let (step, begin): (_, &[&str]) = match restore {
            true => ("bring the box's memory back", &["restore", "--image-path=/memory"]),
            false => ("start gVisor", &["run"]),
        };
        let pid_file = format!("--pid-file={PID}");
        let rest = ["--detach", "--bundle=/bundle", &pid_file, NAME];
        let mut command = command(networked, &[begin, &rest].concat());
        command.stdin(config).stdout(console).stderr(errors()?);
        let status = command.status().map_err(Failure::at(step))?;
        if !status.success() {
            return Err(said(step));
        }
        let at = || Failure::at("find gVisor's process");
        let pid = fs::read_to_string(PID).map_err(at())?;
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| at()(io::Error::other("it did not say which it is")))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty());
        let pidfd = pidfd.map_err(|errno| at()(errno.into()))?;
        Ok(Self { networked, pid, pidfd, ended: None })
    }

    /// Readable when the box has ended.
    pub(super) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Once [`pidfd`](Self::pidfd) is readable: what the box's first process ended with. None when
    /// gVisor was ended, of which that process says nothing.
    pub(super) fn exit_code(&mut self) -> io::Result<Option<i32>> {
        self.reap()?;
        Ok(self.ended.and_then(WaitStatus::exit_status))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    fn reap(&mut self) -> io::Result<()> {
        if self.ended.is_none() {
            self.ended = waitpid(Some(self.pid), WaitOptions::NOHANG)?.map(|(_, status)| status);
        }
        Ok(())
    }

    /// Runs one of gVisor's commands, of which the last argument is the box, to its end.
    pub(super) fn order(&mut self, step: &str, arguments: &[&str]) -> Result<(), Failure> {
        let arguments = [arguments, &[NAME]].concat();
        let mut command = command(self.networked, &arguments);
        command.stderr(errors()?);
        match self.complete(&mut command).map_err(Failure::at(step))? {
            true => Ok(()),
            false => Err(said(step)),
        }
    }

    /// Has the agent do what it does at SIGUSR1: connect to the gate.
    pub(super) fn tell_agent_to_connect(&mut self) -> Result<(), Failure> {
        let mut command = command(self.networked, &["kill", NAME, "USR1"]);
        command.stderr(errors()?);
        match self.complete(&mut command).map_err(Failure::at("wake the agent"))? {
            true => Ok(()),
            false => Err(said("wake the agent")),
        }
    }

    /// Whether a command ended well. Some of them end only when the box's process is gone, which it
    /// is when it was waited for.
    fn complete(&mut self, command: &mut Command) -> io::Result<bool> {
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        let follow = pidfd_open(pid, PidfdFlags::empty())?;
        while self.ended.is_none() {
            let mut fds =
                [PollFd::new(&follow, PollFlags::IN), PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            let [done, gone] = fds.map(|fd| !fd.revents().is_empty());
            if done {
                break;
            }
            if gone {
                self.reap()?;
            }
        }
        child.wait().map(|status| status.success())
    }

    /// Ends the box, whatever it does.
    pub(super) fn kill(&self) {
        // One that has ended needs it no more.
        let _ = pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }
}

fn command(networked: bool, arguments: &[&str]) -> Command {
    let mut command = Command::new(RUNSC);
    command
        .env_clear()
        .args(["--root=/state", "--ignore-cgroups", "--overlay2=none", "--host-uds=open"])
        .arg("--net-raw")
        .arg(if networked { "--network=sandbox" } else { "--network=none" })
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn errors() -> Result<File, Failure> {
    File::create(ERRORS).map_err(Failure::at("make a file for gVisor's errors"))
}

fn said(step: &str) -> Failure {
    let text = fs::read_to_string(ERRORS).unwrap_or_default();
    Failure { step: step.to_owned(), message: gist(&text), errno: None }
}

/// The first line of what gVisor said, which may go on for pages. Pure.
fn gist(text: &str) -> String {
    const CONNECTED: &str = "endpoint cannot be saved in connected state: ";
    let line = text.lines().next().unwrap_or("it said nothing");
    match line.split_once(CONNECTED) {
        Some((_, ends)) => format!(
            "gVisor saves no network connection, of which the box has one, or had one in the last \
             minute ({})",
            ends.trim_end_matches(':')
        ),
        None => line.chars().take(500).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_named_as_what_keeps_memory_from_being_saved() {
        let said = "checkpoint failed: encoding error: save rejected due to unsupported networking \
                    state: endpoint cannot be saved in connected state: local 10.0.0.1:80, remote \
                    10.0.0.2:4000:\ngoroutine 1\n";
        let gist = gist(said);
        assert!(gist.contains("saves no network connection"), "{gist}");
        assert!(gist.ends_with("(local 10.0.0.1:80, remote 10.0.0.2:4000)"), "{gist}");
    }

    #[test]
    fn pages_of_complaints_are_their_first_line() {
        assert_eq!(gist("no\nmore\n"), "no");
        assert_eq!(gist(""), "it said nothing");
        assert_eq!(gist(&"x".repeat(5000)).len(), 500);
    }
}
