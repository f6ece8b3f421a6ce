//! Being root without being it: the namespaces in which an ordinary user's helper is user 0.
//!
//! What the helper makes from then on, it makes in there, and boxes are children of these
//! namespaces. On disk the root of a box is the user itself; its other ids are those that
//! `/etc/subuid` and `/etc/subgid` give to the user, if they do.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use boxherd_sys::clone::{CLONE_NEWNS, CLONE_NEWUSER, Forked, SingleThreaded, exit_now, unshare};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Gid, Uid, getgid, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::wire::Failure;
use crate::subids::{self, SubIds};

/// Enters the namespaces. Returns how many ids there are in them: 1, or more with `newuidmap` and
/// ranges for this user.
pub(super) fn enter(alone: &SingleThreaded) -> Result<u32, Failure> {
    let (uid, gid) = (getuid(), getgid());
    let mappers = match subids::of_user(uid.as_raw()) {
        Some(ids) => Some(Mappers::fork(alone, ids).map_err(Failure::at("fork"))?),
        None => None,
    };
    let (user, group) = (uid.as_raw(), gid.as_raw());
    unshare(CLONE_NEWUSER | CLONE_NEWNS).map_err(Failure::at(MAKE))?;
    if let Some(mappers) = mappers {
        mappers.run().map_err(Failure::at("run `newuidmap`"))?;
    }
    let count = match mapped().map_err(Failure::at("look at the own ids"))? {
        0 => map_one(user, group).map(|()| 1).map_err(Failure::at("map the own id"))?,
        count => count,
    };
    become_root(count).map_err(Failure::at("become root among the own ids"))?;
    Ok(count)
}

/// The step that fails where ordinary users may not have user namespaces.
pub(crate) const MAKE: &str = "make a user namespace";

/// How many ids the present namespace has, as far as both kinds go.
fn mapped() -> io::Result<u32> {
    let count = |file| fs::read_to_string(file).map(|map| subids::count(&map));
    Ok(count("/proc/self/uid_map")?.min(count("/proc/self/gid_map")?))
}

fn map_one(user: u32, group: u32) -> io::Result<()> {
    // One of the two may have been mapped, by a program whose twin is missing.
    let empty = |file: &str| fs::read_to_string(file).map(|map| subids::count(&map) == 0);
    if empty("/proc/self/gid_map")? {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    if empty("/proc/self/uid_map")? {
        fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    }
    Ok(())
}

fn become_root(count: u32) -> io::Result<()> {
    if count > 1 {
        set_thread_groups(&[])?;
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    Ok(set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?)
}

/// Two processes outside, which will become `newuidmap` and `newgidmap`: set-user-id programs have
/// no power inside.
struct Mappers {
    go: OwnedFd,
    pidfds: Vec<OwnedFd>,
}

impl Mappers {
    fn fork(alone: &SingleThreaded, ids: SubIds) -> io::Result<Self> {
        let (go, wait) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let mut this = Self { go, pidfds: Vec::new() };
        for command in ids.commands(std::process::id()) {
            match alone.fork(0, None)? {
                Forked::Child => {
                    drop(this);
                    become_mapper(wait, command);
                    exit_now(1);
                }
                Forked::Parent { pidfd, .. } => this.pidfds.push(pidfd),
            }
        }
        Ok(this)
    }

    /// Lets them run and waits for their end. What they did is seen in the maps.
    fn run(self) -> io::Result<()> {
        drop(self.go);
        for pidfd in &self.pidfds {
            poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], None)?;
        }
        Ok(())
    }
}

/// Returns when there is no such program.
fn become_mapper(wait: OwnedFd, command: Vec<String>) {
    // Closed when the namespaces are there.
    if fs::File::from(wait).read(&mut [0]).is_ok_and(|read| read == 0) {
        // Nothing is lost with the reason: without a map of theirs, one id is mapped.
        drop(Command::new(&command[0]).args(&command[1..]).exec());
    }
}
