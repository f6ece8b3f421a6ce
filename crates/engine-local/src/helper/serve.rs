//! The helper's own loop.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use boxherd_sys::clone::{Forked, SingleThreaded, exit_now, ignore_interrupts, reap_automatically};
use boxherd_sys::seccomp::{Policy, Program};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use rustix::process::chdir;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{
    CapabilitiesSecureBits, LinkNameSpaceType, capabilities_secure_bits, move_into_link_name_space,
    set_capabilities_secure_bits,
};

use super::own_ids;
use super::probe;
use super::start::{self, Half, Launched};
use super::volumes;
use super::wire::{self, Failure, Request, Start, StartFds, Work};
use crate::storage;
use crate::uids::{COUNT, UidBase};

/// What the helper keeps from one box to the next.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) alone: SingleThreaded,
    /// The system calls of boxes without and with `nesting`.
    pub(super) filters: [Program; 2],
    /// How many ids an ordinary user has for boxes, once their namespace is there.
    own: Cell<Option<u32>>,
    /// First processes of boxes that wait to hear what they are, and where that is said.
    halves: RefCell<Vec<(Half, OwnedFd)>>,
}

/// The ids of a box, as the helper sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostIds {
    /// The box's root.
    pub(super) first: u32,
    pub(super) count: u32,
    /// Whether files on disk belong to these ids already, and need no id map.
    pub(super) own: bool,
}

impl Kept {
    /// Those of a box with a range of the host's, or what an ordinary user has.
    pub(super) fn ids(&self, range: Option<UidBase>) -> Result<HostIds, Failure> {
        match range {
            Some(base) => Ok(HostIds { first: base.0, count: COUNT, own: false }),
            None => Ok(HostIds { first: 0, count: self.own()?, own: true }),
        }
    }

    /// Enters the namespaces of an ordinary user's boxes, once.
    fn own(&self) -> Result<u32, Failure> {
        if let Some(count) = self.own.get() {
            return Ok(count);
        }
        let count = own_ids::enter(&self.alone)?;
        self.own.set(Some(count));
        Ok(count)
    }
}

/// Answers until nobody can ask any more.
pub(super) fn serve(socket: &OwnedFd) -> io::Result<()> {
    settle()?;
    // Made once: after a copy was made of this process, it pays for every page that it writes to.
    let mut text = vec![0; wire::LARGEST];
    let kept = Kept {
        alone: SingleThreaded::check()?,
        filters: [false, true].map(|nesting| Program::compile(&Policy::new(nesting))),
        own: Cell::new(None),
        halves: RefCell::default(),
    };
    loop {
        let waits = !kept.halves.borrow().is_empty();
        if waits && let Some(index) = wait(socket, &kept)? {
            let (half, told) = kept.halves.borrow_mut().swap_remove(index);
            go_on(&kept, half, &told);
            continue;
        }
        // Another helper may have been faster. Those that wait for nothing else wait here, where the
        // kernel wakes one of them for each request.
        let flags = if waits { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        let received = match wire::receive_into(socket, &mut text, flags) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            received => received?,
        };
        let Some((length, mut fds)) = received else { return Ok(()) };
        let request = serde_json::from_slice(&text[..length])?;
        if fds.is_empty() {
            continue;
        }
        let reply = fds.remove(0);
        let sent = match request {
            Request::Begin(begin) => match start::begin(&kept, &begin, fds) {
                Ok(half) => {
                    kept.halves.borrow_mut().push((half, reply));
                    continue;
                }
                Err(failure) => wire::send(&reply, &Err::<wire::Started, _>(failure), &[]),
            },
            Request::Rename(name) => wire::send(&reply, &rename(&kept, &name, fds), &[]),
            Request::Attach(path) => {
                let attached = in_copy(&kept, || volumes::attach(&path, fds));
                wire::send(&reply, &attached, &[])
            }
            Request::Detach(path, mount) => {
                let detached = in_copy(&kept, || volumes::detach(&path, mount, fds));
                wire::send(&reply, &detached, &[])
            }
            Request::Work(work) => answer_work(&kept, &reply, &work),
            Request::Probe { folder, root } => {
                wire::send(&reply, &probe::try_all(&kept, &folder, root), &[])
            }
        };
        // Whoever asked may be gone by now; what was made is found by the next who looks.
        drop(sent);
    }
}

/// Waits until there is something to do: with the first process of a box, whose place among those that
/// wait comes back, or something new.
fn wait(socket: &OwnedFd, kept: &Kept) -> io::Result<Option<usize>> {
    let halves = kept.halves.borrow();
    // Somebody is half-way with those.
    let told = halves.iter().map(|(_, told)| told);
    let mut fds: Vec<_> = told.chain([socket]).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    Ok(fds.iter().position(|fd| !fd.revents().is_empty()).filter(|index| *index < halves.len()))
}

/// The first process of a box hears what it is, or that it is not wanted any more.
fn go_on(kept: &Kept, half: Half, told: &OwnedFd) {
    let Ok(Some((text, fds))) = wire::receive_text(told) else { return half.end() };
    let start = serde_json::from_slice::<Start>(&text)
        .map_err(|error| Failure::at(READ)(io::Error::from(error)));
    // Whoever asked may be gone by now; what was made is found by the next who looks.
    drop(match start {
        Err(failure) => {
            half.end();
            wire::send(told, &Err::<wire::Started, _>(failure), &[])
        }
        Ok(start) if start.sandbox.is_some() => {
            aside(kept, told, || answer_start(half, told, (&text, &start), fds))
        }
        Ok(start) => answer_start(half, told, (&text, &start), fds),
    });
}

/// A step.
const READ: &str = "read the request";

/// Lets go of what belonged to the process this is a copy of.
fn settle() -> io::Result<()> {
    ignore_interrupts()?;
    // Boxes are followed by pidfd, by whoever wants to know.
    reap_automatically()?;
    chdir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    if rustix::process::geteuid().is_root() {
        // Taking on a box's id for a moment must not cost the capabilities.
        let bits = capabilities_secure_bits()? | CapabilitiesSecureBits::NO_SETUID_FIXUP;
        set_capabilities_secure_bits(bits)?;
    }
    Ok(())
}

fn answer_start(
    half: Half,
    reply: &OwnedFd,
    (text, request): (&[u8], &Start),
    fds: Vec<OwnedFd>,
) -> io::Result<()> {
    let started = match StartFds::from_vec(request, fds) {
        Some(fds) => start::finish(half, (text, request), fds),
        None => {
            half.end();
            Err(Failure::at(READ)(io::Error::other("descriptors are missing")))
        }
    };
    match started {
        Ok(Launched { started, ref pidfd, .. }) => {
            wire::send(reply, &Ok::<_, Failure>(started), &[pidfd.as_fd()])
        }
        Err(failure) => wire::send(reply, &Err::<wire::Started, _>(failure), &[]),
    }
}

/// Has a copy of this process do what takes long, and answer, so that nobody waits meanwhile.
fn aside(kept: &Kept, reply: &OwnedFd, answer: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match kept.alone.fork(0, None) {
        Ok(Forked::Parent { .. }) => Ok(()),
        Ok(Forked::Child) => {
            drop(kept.halves.take());
            exit_now(i32::from(answer().is_err()))
        }
        Err(error) => wire::send(reply, &Err::<(), _>(Failure::at("fork")(error)), &[]),
    }
}

/// Has a copy of this process do something that this one could not come back from. Whatever `work`
/// holds is let go of on both sides before this returns.
fn in_copy(kept: &Kept, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.map_err(Failure::at("make a socket pair"))?;
    match kept.alone.fork(0, None).map_err(Failure::at("fork"))? {
        Forked::Child => exit_now(i32::from(wire::send(&theirs, &work(), &[]).is_err())),
        Forked::Parent { .. } => {
            drop(theirs);
            let said = wire::receive(&ours).map_err(Failure::at("listen to the copy"))?;
            let gone = || Failure::at("listen to the copy")(io::Error::other("it ended half-way"));
            said.map_or_else(|| Err(gone()), |(done, _)| done)
        }
    }
}

/// Touches files of an ordinary user's boxes, which may belong to any of their ids.
fn answer_work(kept: &Kept, reply: &OwnedFd, work: &Work) -> io::Result<()> {
    if let Err(failure) = kept.own() {
        return wire::send(reply, &Err::<(), _>(failure), &[]);
    }
    aside(kept, reply, || {
        let done = match work {
            Work::Copy { source, target } => storage::copy_tree(source, target),
            Work::Remove { path } => storage::remove(path),
        };
        wire::send(reply, &done.map_err(|error| Failure::of_storage(&error)), &[])
    })
}

/// Only a process in the box's own UTS namespace can name it, so that a copy of this one goes there.
fn rename(kept: &Kept, name: &str, fds: Vec<OwnedFd>) -> Result<(), Failure> {
    let pidfd = fds.into_iter().next().ok_or(io::Error::other("no descriptor"));
    let pidfd = pidfd.map_err(Failure::at("read the request"))?;
    match kept.alone.fork(0, None).map_err(Failure::at("fork"))? {
        Forked::Child => {
            let enter = |kind| move_into_link_name_space(pidfd.as_fd(), Some(kind));
            // An ordinary user has power over its name only among the box's own users.
            let user = match rustix::process::geteuid().is_root() {
                true => Ok(()),
                false => enter(LinkNameSpaceType::User),
            };
            let named = user
                .and_then(|()| enter(LinkNameSpaceType::HostNameAndNISDomainName))
                .and_then(|()| rustix::system::sethostname(name.as_bytes()));
            exit_now(i32::from(named.is_err()))
        }
        Forked::Parent { pidfd: child, .. } => {
            let mut fds = [rustix::event::PollFd::new(&child, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None).map_err(Failure::at("wait for the copy"))?;
            Ok(())
        }
    }
}
