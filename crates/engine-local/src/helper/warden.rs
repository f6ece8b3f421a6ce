//! The first process of a box with a kernel of its own: it starts gVisor, hands links in to the
//! agent, saves memory when the engine orders it, and ends with the box.
//!
//! It is a copy of the helper without any of its descriptors, in the box's own namespaces, and has
//! what the box's root has outside of gVisor: nothing.

use std::fs::File;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use boxherd_link::agent_config::{CONNECTION, PARK};
use boxherd_sys::clone::exit_now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::jail::{INNER_DOOR, RUNSC};
use super::wire::{self, Failure, Sandbox};
use crate::sandbox::COMPLETE;

/// What gVisor knows the box as.
const NAME: &str = "box";
/// Where the box's folder for memory is mounted.
const MEMORY: &str = "/memory";
/// Where gVisor says what went wrong.
const ERRORS: &str = "/state/errors";
/// How long the agent may take to come to the gate, or to let go of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the engine orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Save the memory and end.
    Hibernate,
    /// Save the memory and stand still until [`Order::GoOn`].
    Save,
    /// Go on where [`Order::Save`] left off.
    GoOn,
}

/// The descriptors of a warden.
#[derive(Debug)]
pub(super) struct Hands {
    /// Where the helper waits for the end of the start.
    pub(super) sync: OwnedFd,
    /// Where the engine connects to the agent.
    pub(super) links: UnixListener,
    pub(super) orders: UnixListener,
    pub(super) config: OwnedFd,
    pub(super) console: OwnedFd,
    pub(super) exit: File,
}

/// A box's warden.
#[derive(Debug)]
pub(super) struct Warden {
    hands: Hands,
    networked: bool,
}

/// Runs the box to its end. Returns only when it did not begin.
pub(super) fn start(warden: Warden, sandbox: &Sandbox) -> (OwnedFd, Failure) {
    let Warden { hands, networked } = warden;
    let Hands { sync, links, orders, config, console, exit } = hands;
    let begun = Sandboxed::begin(networked, sandbox.restore, config, console);
    let begun = begun.and_then(|sandboxed| {
        let ended = sandboxed.runsc(&["wait", NAME]).stdout(Stdio::piped()).spawn();
        Ok((sandboxed, ended.map_err(Failure::at("follow gVisor"))?))
    });
    match begun {
        Err(failure) => (sync, failure),
        Ok((mut sandboxed, ended)) => {
            drop(sync);
            // Whoever looks finds the box ended; there is nobody to tell more.
            let code = sandboxed.guard(&links, &orders, ended, exit).is_err();
            exit_now(i32::from(code))
        }
    }
}

impl Warden {
    pub(super) fn new(hands: Hands, networked: bool) -> Self {
        Self { hands, networked }
    }
}

/// gVisor with the box in it.
struct Sandboxed {
    networked: bool,
    door: UnixListener,
    /// The agent; `None` while it has let go.
    gate: Option<UnixStream>,
    hibernated: bool,
}

impl Sandboxed {
    fn begin(
        networked: bool,
        restore: bool,
        config: OwnedFd,
        console: OwnedFd,
    ) -> Result<Self, Failure> {
        let door = UnixListener::bind(format!("{INNER_DOOR}/gate"));
        let door = door.map_err(Failure::at("listen for the agent"))?;
        let mut this = Self { networked, door, gate: None, hibernated: false };
        let begin: &[&str] = match restore {
            true => &["restore", "--detach", "--bundle=/bundle", "--image-path=/memory", NAME],
            false => &["run", "--detach", "--bundle=/bundle", NAME],
        };
        let errors = File::options().create(true).append(true).open(ERRORS);
        let errors = errors.map_err(Failure::at("make a file for gVisor's errors"))?;
        let mut command = this.runsc(begin);
        command.stdin(config).stdout(console).stderr(errors);
        let step = if restore { "bring the box's memory back" } else { "start gVisor" };
        let status = command.status().map_err(Failure::at(step))?;
        if !status.success() {
            return Err(said(step, &std::fs::read_to_string(ERRORS).unwrap_or_default()));
        }
        if restore {
            this.tell_agent_to_connect()?;
        }
        this.admit()?;
        Ok(this)
    }

    fn runsc(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(RUNSC);
        command
            .env_clear()
            .args(["--root=/state", "--ignore-cgroups", "--overlay2=none", "--host-uds=open"])
            .arg("--net-raw")
            .arg(if self.networked { "--network=sandbox" } else { "--network=none" })
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Runs one of gVisor's commands to its end.
    fn order(&self, step: &'static str, arguments: &[&str]) -> Result<(), Failure> {
        let output = self.runsc(arguments).stderr(Stdio::piped()).output();
        let output = output.map_err(Failure::at(step))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(said(step, &String::from_utf8_lossy(&output.stderr))),
        }
    }

    fn tell_agent_to_connect(&self) -> Result<(), Failure> {
        self.order("wake the agent", &["kill", NAME, "USR1"])
    }

    /// Lets the agent in.
    fn admit(&mut self) -> Result<(), Failure> {
        let at = || Failure::at("wait for the agent");
        if !becomes_readable(&self.door).map_err(at())? {
            return Err(at()(io::ErrorKind::TimedOut.into()));
        }
        let (gate, _) = self.door.accept().map_err(at())?;
        self.gate = Some(gate);
        Ok(())
    }

    /// Until the box has ended, which `ended` follows.
    fn guard(
        &mut self,
        links: &UnixListener,
        orders: &UnixListener,
        mut ended: Child,
        mut exit: File,
    ) -> io::Result<()> {
        let pid = i32::try_from(ended.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        let follow = pidfd_open(pid, PidfdFlags::empty())?;
        loop {
            let mut fds = vec![
                PollFd::new(&follow, PollFlags::IN),
                PollFd::new(orders, PollFlags::IN),
            ];
            // Links wait outside while there is nobody to hand them to.
            if self.gate.is_some() {
                fds.push(PollFd::new(links, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0] {
                return self.note_end(&mut ended, &mut exit);
            }
            if ready[1] {
                let (engine, _) = orders.accept()?;
                self.obey(&engine)?;
            }
            if ready.get(2) == Some(&true) {
                let (link, _) = links.accept()?;
                self.hand_in(&link);
            }
        }
    }

    /// Writes down what the agent ended with, which is what the main program did.
    fn note_end(&self, ended: &mut Child, exit: &mut File) -> io::Result<()> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Status {
            exit_status: i32,
        }
        let mut text = String::new();
        if let Some(stdout) = &mut ended.stdout {
            stdout.read_to_string(&mut text)?;
        }
        // Without a status gVisor itself has ended, of which the agent says nothing.
        match serde_json::from_str::<Status>(&text) {
            Ok(status) if !self.hibernated => write!(exit, "{}", status.exit_status),
            _ => Ok(()),
        }
    }

    /// An agent that does not take it closes it.
    fn hand_in(&mut self, link: &UnixStream) {
        let Some(gate) = &self.gate else { return };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [link.as_fd()];
        let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(fits, "there is space for one");
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = sendmsg(gate, &[IoSlice::new(&[CONNECTION])], &mut control, flags);
        // The other end of `link` is closed with it, which is what the engine sees of a dead agent.
        drop(sent);
    }

    fn obey(&mut self, engine: &UnixStream) -> io::Result<()> {
        let Some((order, _)) = wire::receive::<Order>(engine)? else { return Ok(()) };
        let done = match order {
            Order::Save => self.save(),
            Order::Hibernate => self.hibernate(),
            Order::GoOn => self.go_on(),
        };
        match wire::send(engine, &done, &[]) {
            // Whoever ordered it is gone, and what is true is found by the next who looks.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent,
        }
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.park()?;
        let saved = self.order("pause the box", &["pause", NAME]).and_then(|()| {
            let arguments = ["checkpoint", "--image-path=/memory", "--compression=none"];
            let last = ["--leave-running", NAME];
            self.order("save the box's memory", &[&arguments[..], &last].concat())
        });
        saved.or_else(|failure| self.go_on().and(Err(failure)))
    }

    fn hibernate(&mut self) -> Result<(), Failure> {
        self.park()?;
        self.hibernated = true;
        let arguments = ["checkpoint", "--image-path=/memory", "--compression=none", NAME];
        let saved = self.order("save the box's memory", &arguments).and_then(|()| {
            let complete = File::create(Path::new(MEMORY).join(COMPLETE)).map(drop);
            complete.map_err(Failure::at("note that the memory is saved"))
        });
        saved.or_else(|failure| {
            self.hibernated = false;
            self.tell_agent_to_connect()?;
            self.admit()?;
            Err(failure)
        })
    }

    fn go_on(&mut self) -> Result<(), Failure> {
        self.order("let the box go on", &["resume", NAME])?;
        self.tell_agent_to_connect()?;
        self.admit()
    }

    /// Has the agent let go of every link: nothing of the host's is saved with the memory.
    fn park(&mut self) -> Result<(), Failure> {
        let at = || Failure::at("have the agent let go of its links");
        let Some(mut gate) = self.gate.take() else { return Ok(()) };
        gate.write_all(&[PARK]).map_err(at())?;
        if !becomes_readable(&gate).map_err(at())? {
            self.gate = Some(gate);
            return Err(at()(io::ErrorKind::TimedOut.into()));
        }
        Ok(())
    }
}

fn becomes_readable(socket: &impl std::os::fd::AsFd) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))? > 0)
}

/// The first line of what a program said, which may go on for pages.
fn said(step: &str, text: &str) -> Failure {
    let line: String = text.lines().next().unwrap_or("it said nothing").chars().take(500).collect();
    Failure { step: step.to_owned(), message: line, errno: None }
}
