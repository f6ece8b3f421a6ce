//! What `doctor` tries: each thing of a start that a host may refuse, done once on nothing of value.
//!
//! It is tried and not read off versions or settings, because those do not say what a container, a
//! security module or a filesystem has to say about it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use boxherd_sys::clone::{CLONE_NEWUSER, Forked, exit_now};
use boxherd_sys::mount::{Attributes, set_attributes};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::child::{become_root, wait_for};
use super::mounts::{PLAIN, mount_detached, overlay, stage};
use super::own_ids::MAKE;
use super::serve::{HostIds, Kept};
use super::start::{IDS, NAMESPACES, chain, detach, map_ids, tell};
use super::wire::Failure;
use crate::uids::{RANGE, UidBase};

/// Something a start does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trial {
    UserNamespace,
    OtherNamespaces,
    IdMap,
    /// Root only: without root a box's files are the user's own.
    IdMappedMount,
    KernelFilesystems,
    Overlay,
    Loopback,
    Filter,
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tried {
    pub(crate) trial: Trial,
    pub(crate) failure: Option<Failure>,
}

/// How everything went.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Probed {
    pub(crate) tried: Vec<Tried>,
    /// How many ids a box has; `None` when it could have none.
    pub(crate) ids: Option<u32>,
}

/// The folders in the folder that the trials are given, which the caller makes: a writable layer as
/// a box has one, and one to lie below it.
pub(crate) const FOLDERS: [&str; 4] = ["layer", "layer/root", "layer/work", "lower"];
const LAYER: &str = FOLDERS[0];
const LOWER: &str = FOLDERS[3];

impl Probed {
    fn note<T>(&mut self, trial: Trial, went: Result<T, Failure>) -> Option<T> {
        let (value, failure) = match went {
            Ok(value) => (Some(value), None),
            Err(failure) => (None, Some(failure)),
        };
        self.tried.push(Tried { trial, failure });
        value
    }
}

/// Tries everything, with [`FOLDERS`] in `folder`. What could not be tried because something else
/// failed before is not in the answer.
pub(super) fn try_all(kept: &Kept, folder: &Path, root: bool) -> Result<Probed, Failure> {
    let mut probed = Probed::default();
    let ids = match kept.ids(root.then_some(UidBase(*RANGE.start()))) {
        Ok(ids) => ids,
        Err(failure) => {
            let trial = if failure.step == MAKE { Trial::UserNamespace } else { Trial::IdMap };
            probed.note::<()>(trial, Err(failure));
            return Ok(probed);
        }
    };
    let trees = trees(folder);
    let (ours, theirs) = pair()?;
    let pid = match kept.alone.fork(NAMESPACES, None) {
        Ok(Forked::Child) => {
            drop(ours);
            let inside = in_child(kept, trees, ids, &theirs);
            let text = serde_json::to_vec(&inside).unwrap_or_default();
            // When nobody listens any more, nobody waits either.
            drop(File::from(theirs).write_all(&text));
            exit_now(0)
        }
        Ok(Forked::Parent { pid, .. }) => pid,
        Err(error) => {
            blame(kept, &mut probed, error);
            return Ok(probed);
        }
    };
    drop(theirs);
    probed.note(Trial::UserNamespace, Ok(()));
    probed.note(Trial::OtherNamespaces, Ok(()));
    let proc = format!("/proc/{}", pid.as_raw_nonzero());
    let mapped = map_ids(&proc, ids).map_err(Failure::at("map the box's ids"));
    if probed.note(Trial::IdMap, mapped).is_none() {
        // The child ends when it hears that nobody is here.
        return Ok(probed);
    }
    probed.ids = Some(ids.count);
    if !ids.own {
        let mapped =
            trees.as_ref().map_err(Failure::clone).and_then(|trees| map_mounts(trees, pid));
        probed.note(Trial::IdMappedMount, mapped);
    }
    // One that has ended has said why.
    match tell(&ours, IDS) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        told => told.map_err(Failure::at("talk to the trial"))?,
    }
    let mut said = Vec::new();
    File::from(ours).read_to_end(&mut said).map_err(Failure::at("listen to the trial"))?;
    let inside: Probed = serde_json::from_slice(&said)
        .map_err(|error| Failure::at("read what the trial said")(io::Error::other(error)))?;
    probed.tried.extend(inside.tried);
    Ok(probed)
}

fn pair() -> Result<(OwnedFd, OwnedFd), Failure> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(Failure::at("make a socket pair"))
}

/// Which of the namespaces it was that could not be had.
fn blame(kept: &Kept, probed: &mut Probed, error: io::Error) {
    match kept.alone.fork(CLONE_NEWUSER, None) {
        Ok(Forked::Child) => exit_now(0),
        Ok(Forked::Parent { .. }) => {
            probed.note(Trial::UserNamespace, Ok(()));
            let failed = Failure::at("make namespaces for mounts, processes, networks and names");
            probed.note::<()>(Trial::OtherNamespaces, Err(failed(error)));
        }
        Err(error) => {
            probed.note::<()>(Trial::UserNamespace, Err(Failure::at(MAKE)(error)));
        }
    }
}

fn trees(folder: &Path) -> Result<[OwnedFd; 2], Failure> {
    let tree = |name: &str| {
        let path = folder.join(name);
        detach(rustix::fs::CWD, path.as_path())
            .map_err(Failure::at(format!("clone the mount of `{}`", path.display())))
    };
    Ok([tree(LAYER)?, tree(LOWER)?])
}

fn map_mounts(trees: &[OwnedFd; 2], pid: Pid) -> Result<(), Failure> {
    let at = || Failure::at("map ids on the data folder's filesystem");
    let userns = File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero())).map_err(at())?;
    let attributes = Attributes { id_map: Some(userns.as_fd()), ..Attributes::default() };
    trees.iter().try_for_each(|tree| set_attributes(tree.as_fd(), attributes).map_err(at()))
}

/// What a box's first process does.
fn in_child(
    kept: &Kept,
    trees: Result<[OwnedFd; 2], Failure>,
    ids: HostIds,
    sync: &OwnedFd,
) -> Probed {
    let mut probed = Probed::default();
    if wait_for(sync, IDS).is_err() {
        return probed;
    }
    let rooted = become_root(ids).map_err(Failure::at("become the box's root"));
    if rooted.is_err() {
        probed.note(Trial::IdMap, rooted);
        return probed;
    }
    probed.note(Trial::KernelFilesystems, kernel_filesystems());
    let mounted = trees.and_then(|[layer, lower]| {
        let lower = [lower];
        stage(&layer, &lower)?;
        overlay(&layer, &lower, false)
    });
    probed.note(Trial::Overlay, mounted);
    let loopback = boxherd_net::raise_loopback().map_err(|error| Failure {
        step: "bring up the loopback device".to_owned(),
        message: chain(&error),
        errno: None,
    });
    probed.note(Trial::Loopback, loopback);
    let filter = kept.filters[0].install();
    probed.note(Trial::Filter, filter.map_err(Failure::at("install the system call filter")));
    probed
}

fn kernel_filesystems() -> Result<(), Failure> {
    ["proc", "sysfs", "tmpfs", "devpts", "mqueue"].into_iter().try_for_each(|kind| {
        let mounted = mount_detached(kind, &[], PLAIN);
        mounted.map(drop).map_err(Failure::at(format!("mount {kind}")))
    })
}
