//! The first process of a box with a kernel of its own: it starts gVisor, hands links in to the
//! agent, saves memory when the engine orders it, and ends with the box.
//!
//! It is a copy of the helper without any of its descriptors, in the box's own namespaces, and has
//! what the box's root has outside of gVisor: nothing.
//!
//! A link is made by both sides: the engine connects to the box's socket, the agent, told so at its
//! gate, connects to the door, and the warden gives the engine the agent's connection. So no
//! descriptor of the host's ever comes into the box, where it would be in the way of saving memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use boxherd_link::agent_config::{CONNECTION, PARK};
use boxherd_sys::clone::exit_now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use serde::{Deserialize, Serialize};

use super::jail::INNER_DOOR;
use super::runsc::Sandbox;
use super::shortage::Shortage;
use super::wire::{self, Failure};
use crate::cgroup::MemoryWatch;
use crate::sandbox::COMPLETE;

/// Where the box's folder for memory is mounted.
const MEMORY: &str = "/memory";
/// How long the agent may take to come to the gate, or to let go of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who waits for a link at most; an agent that answers takes each at once.
const WAITING: usize = 64;

/// What the engine orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Save the memory and end.
    Hibernate,
    /// Save the memory and stand still until [`Order::GoOn`], or until whoever ordered it is gone.
    Save,
    /// Go on where [`Order::Save`] left off, over the same connection.
    GoOn,
}

/// The descriptors of a warden.
#[derive(Debug)]
pub(super) struct Hands {
    /// Where the helper waits for the end of the start.
    pub(super) sync: OwnedFd,
    /// Where the engine asks for links.
    pub(super) links: UnixListener,
    pub(super) orders: UnixListener,
    pub(super) config: OwnedFd,
    pub(super) console: OwnedFd,
    pub(super) exit: File,
    pub(super) memory: Option<MemoryWatch>,
}

/// Runs the box to its end. Returns only when it did not begin.
pub(super) fn start(hands: Hands, restore: bool, networked: bool) -> (OwnedFd, Failure) {
    let Hands { sync, links, orders, config, console, exit, memory } = hands;
    let begun = Warden::begin(networked, restore, (config, console));
    let watched = begun.and_then(|warden| {
        let shortage = memory.map(Shortage::watch).transpose();
        Ok((warden, shortage.map_err(Failure::at("watch the box's memory"))?))
    });
    match watched {
        Err(failure) => (sync, failure),
        Ok((mut warden, shortage)) => {
            drop(sync);
            // Whoever looks finds the box ended; there is nobody to tell more.
            let code = warden.guard(&links, &orders, shortage, exit).is_err();
            exit_now(i32::from(code))
        }
    }
}

/// What a warden watches over.
struct Warden {
    sandbox: Sandbox,
    /// Where the agent connects to, for a gate and for links.
    door: UnixListener,
    /// Where the agent listens; `None` while it has let go.
    gate: Option<UnixStream>,
    /// Who gets the agent's next connections.
    waiting: VecDeque<UnixStream>,
    hibernated: bool,
}

impl Warden {
    fn begin(
        networked: bool,
        restore: bool,
        (config, console): (OwnedFd, OwnedFd),
    ) -> Result<Self, Failure> {
        let door = UnixListener::bind(format!("{INNER_DOOR}/gate"));
        let door = door.and_then(|door| door.set_nonblocking(true).map(|()| door));
        let door = door.map_err(Failure::at("listen for the agent"))?;
        let sandbox = Sandbox::begin(networked, restore, config, console)?;
        let waiting = VecDeque::new();
        let mut this = Self { sandbox, door, gate: None, waiting, hibernated: false };
        if restore {
            this.sandbox.tell_agent_to_connect()?;
        }
        this.admit()?;
        if restore {
            // It runs, and what it does from now on is not in there.
            let forgotten = std::fs::remove_file(Path::new(MEMORY).join(COMPLETE));
            forgotten.map_err(Failure::at("forget the saved memory"))?;
        }
        Ok(this)
    }

    /// Lets the agent in.
    fn admit(&mut self) -> Result<(), Failure> {
        let at = || Failure::at("wait for the agent");
        if !becomes_readable(&self.door, &self.sandbox).map_err(at())? {
            return Err(at()(io::ErrorKind::TimedOut.into()));
        }
        let (gate, _) = self.door.accept().map_err(at())?;
        self.gate = Some(gate);
        Ok(())
    }

    /// Until the box has ended.
    fn guard(
        &mut self,
        links: &UnixListener,
        orders: &UnixListener,
        mut shortage: Option<Shortage>,
        mut exit: File,
    ) -> io::Result<()> {
        while !self.sandbox.has_ended() {
            // Links wait outside while there is nobody to make them with.
            let links = self.gate.is_some().then_some(links);
            let bell = shortage.as_ref().map(Shortage::bell);
            let timeout = shortage.as_ref().and_then(Shortage::next_look);
            let ready = Ready::wait(&self.sandbox, orders, &self.door, links, bell, timeout)?;
            if let Some(shortage) = &mut shortage
                && shortage.has_come(ready.bell)?
            {
                // The end of this process is that of all.
                return Ok(());
            }
            if ready.ended {
                break;
            }
            if ready.order {
                let (engine, _) = orders.accept()?;
                self.obey(&engine)?;
                // What else was ready may not be any more.
                continue;
            }
            if let Some(links) = links.filter(|_| ready.link) {
                let (engine, _) = links.accept()?;
                self.ask_for_link(engine);
            }
            if ready.door {
                self.hand_over();
            }
        }
        match self.sandbox.exit_code()? {
            Some(code) if !self.hibernated => write!(exit, "{code}"),
            _ => Ok(()),
        }
    }

    /// Whoever is not served finds the connection closed.
    fn ask_for_link(&mut self, engine: UnixStream) {
        let Some(gate) = self.gate.as_ref().filter(|_| self.waiting.len() < WAITING) else {
            return;
        };
        if send(gate, &[CONNECTION], SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok() {
            self.waiting.push_back(engine);
        }
    }

    /// Gives the agent's connection to who has waited longest.
    fn hand_over(&mut self) {
        // It may have been given up meanwhile.
        let Ok((agent, _)) = self.door.accept() else { return };
        let Some(engine) = self.waiting.pop_front() else { return };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [agent.as_fd()];
        let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(fits, "there is space for one");
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // One that has gone leaves the agent with a closed link.
        let _ = sendmsg(engine, &[IoSlice::new(&[CONNECTION])], &mut control, flags);
    }

    fn obey(&mut self, engine: &UnixStream) -> io::Result<()> {
        let Some(order) = wire::receive_on_stream(engine)? else { return Ok(()) };
        match order {
            Order::Hibernate => answer(engine, &self.hibernate()),
            Order::Save => {
                let saved = self.save();
                answer(engine, &saved)?;
                if saved.is_err() {
                    return Ok(());
                }
                // Whether it says so or is gone: whoever had the box stand still needs it no more.
                let last = wire::receive_on_stream::<Order>(engine);
                let gone_on = self.go_on();
                last.and_then(|_| answer(engine, &gone_on))
            }
            Order::GoOn => Ok(()),
        }
    }

    /// Saves the memory of the box, which stands still from then on.
    fn save(&mut self) -> Result<(), Failure> {
        self.park()?;
        let sandbox = &mut self.sandbox;
        // Without `--leave-running`, gVisor ends the box whether it could save it or not.
        const CHECKPOINT: [&str; 4] =
            ["checkpoint", "--image-path=/memory", "--compression=none", "--leave-running"];
        let saved = sandbox
            .order("pause the box", &["pause"])
            .and_then(|()| sandbox.order("save the box's memory", &CHECKPOINT));
        // Why it was not saved says more than why it does not go on.
        saved.inspect_err(|_| drop(self.go_on()))
    }

    fn hibernate(&mut self) -> Result<(), Failure> {
        self.save()?;
        let complete = File::create(Path::new(MEMORY).join(COMPLETE)).map(drop);
        let complete = complete.map_err(Failure::at("note that the memory is saved"));
        match &complete {
            Ok(()) => {
                self.hibernated = true;
                self.sandbox.kill();
            }
            // As above.
            Err(_) => drop(self.go_on()),
        }
        complete
    }

    fn go_on(&mut self) -> Result<(), Failure> {
        self.sandbox.order("let the box go on", &["resume"])?;
        self.sandbox.tell_agent_to_connect()?;
        self.admit()
    }

    /// Has the agent let go of every link: nothing of the host's is saved with the memory.
    fn park(&mut self) -> Result<(), Failure> {
        let at = || Failure::at("have the agent let go of its links");
        let Some(gate) = self.gate.take() else { return Ok(()) };
        send(&gate, &[PARK], SendFlags::NOSIGNAL).map_err(|errno| at()(errno.into()))?;
        if !becomes_readable(&gate, &self.sandbox).map_err(at())? {
            self.gate = Some(gate);
            return Err(at()(io::ErrorKind::TimedOut.into()));
        }
        self.waiting.clear();
        // What it connected before.
        while self.door.accept().is_ok() {}
        Ok(())
    }
}

/// Whoever ordered it may be gone, and what is true is found by the next who looks.
fn answer(engine: &UnixStream, done: &Result<(), Failure>) -> io::Result<()> {
    match wire::send(engine, done, &[]) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent,
    }
}

/// What a warden has to do.
struct Ready {
    ended: bool,
    order: bool,
    door: bool,
    link: bool,
    bell: bool,
}

impl Ready {
    fn wait(
        sandbox: &Sandbox,
        orders: &UnixListener,
        door: &UnixListener,
        links: Option<&UnixListener>,
        bell: Option<&OwnedFd>,
        timeout: Option<Timespec>,
    ) -> io::Result<Self> {
        let all = [
            Some(sandbox.pidfd().as_fd()),
            Some(orders.as_fd()),
            Some(door.as_fd()),
            links.map(UnixListener::as_fd),
            bell.map(OwnedFd::as_fd),
        ];
        let given = all.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN));
        let mut fds: Vec<_> = given.collect();
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            result => drop(result?),
        }
        let mut seen = fds.iter().map(|fd| !fd.revents().is_empty());
        let [ended, order, door, link, bell] =
            all.map(|fd| fd.is_some() && seen.next().unwrap_or_default());
        Ok(Self { ended, order, door, link, bell })
    }
}

/// Whether it does while the box lives.
fn becomes_readable(socket: &impl std::os::fd::AsFd, sandbox: &Sandbox) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let mut fds = [PollFd::new(socket, PollFlags::IN), PollFd::new(sandbox.pidfd(), PollFlags::IN)];
    poll(&mut fds, Some(&timeout))?;
    if fds[0].revents().is_empty() && !fds[1].revents().is_empty() {
        return Err(io::Error::other("the box has ended"));
    }
    Ok(!fds[0].revents().is_empty())
}
