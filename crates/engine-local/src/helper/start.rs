//! The helper's half of a start: what needs the host's privileges.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Instant;

use boxherd_engine::fault;
use boxherd_net::Networks;
use boxherd_sys::clone::{
    CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, Forked,
    exit_now,
};
use boxherd_sys::mount::{Attributes, set_attributes};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::path::Arg;
use rustix::process::{Pid, Signal};
use rustix::thread::set_thread_res_uid;

use super::child::{self, Inside};
use super::jail;
use super::serve::{HostIds, Kept};
use super::wire::{Failure, Start, StartFds, Started};
use crate::disks::mapped;
use crate::record::Runtime;
use crate::root::devices;

pub(super) const NAMESPACES: i32 =
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC;

/// Says to the child that its ids exist.
pub(super) const IDS: u8 = b'i';
/// Says to the child that the box is on record, and has what its main program needs.
pub(super) const GO: u8 = b'g';

/// A box whose agent executes.
pub(super) struct Launched {
    pub(super) started: Started,
    pub(super) pidfd: OwnedFd,
    /// Closed when the answer is on its way.
    _done_with: (StartFds, Mounts),
}

/// Starts a box and returns when its agent executes.
pub(super) fn start(kept: &Kept, request: &Start, mut fds: StartFds) -> Result<Launched, Failure> {
    let begun = Instant::now();
    let mut timings = Vec::new();
    let ids = kept.ids(request.uids)?;
    let mounts = Mounts::open(request, &fds, ids)?;
    lap(&mut timings, "mounts", begun);
    let at = Instant::now();
    let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.map_err(Failure::at("make a socket pair"))?;
    let group = fds.unified.as_ref().map(OwnedFd::as_fd);
    if !ids.own {
        take_on(ids.first).map_err(Failure::at("take on the box's id"))?;
    }
    let forked = kept.alone.fork(NAMESPACES, group);
    if let Ok(Forked::Child) = forked {
        drop(ours);
        let filter = &kept.filters[usize::from(request.nesting)];
        let inside = Inside { request, fds, mounts, filter, ids };
        match &request.sandbox {
            None => child::run(inside, theirs),
            Some(sandbox) => jail::run(inside, sandbox, theirs),
        }
        exit_now(1);
    }
    if !ids.own {
        take_on(0).map_err(Failure::at("take back the own id"))?;
    }
    let forked = forked.map_err(Failure::at("make the box's namespaces"))?;
    let Forked::Parent { pid, pidfd } = forked else { exit_now(1) };
    drop(theirs);
    fault::point("helper.cloned");
    lap(&mut timings, "clone", at);
    let attended = attend(request, &fds, (ids, &mounts), pid, File::from(ours), &mut timings);
    if let Err(failure) = attended {
        // It may be waiting for us, or have ended already: then there is nothing to end.
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        return Err(failure);
    }
    // So that nobody but the box keeps a disk busy once the answer is there.
    fds.volumes.clear();
    let started = Started { pid: pid.as_raw_nonzero().get(), timings };
    Ok(Launched { started, pidfd, _done_with: (fds, mounts) })
}

/// What the child waits for, in the order it does.
fn attend(
    request: &Start,
    fds: &StartFds,
    (ids, mounts): (HostIds, &Mounts),
    pid: Pid,
    mut sync: File,
    timings: &mut Vec<(String, u64)>,
) -> Result<(), Failure> {
    let at = Instant::now();
    let proc = format!("/proc/{}", pid.as_raw_nonzero());
    map_ids(&proc, ids).map_err(Failure::at("map the box's ids"))?;
    if !ids.own {
        mounts.map_ids(&proc, &fds.volumes)?;
    }
    fault::point("helper.mapped");
    tell(&sync, IDS)?;
    lap(timings, "ids", at);
    let at = Instant::now();
    write_runtime(request, fds, pid).map_err(Failure::at("write `runtime.json`"))?;
    fault::point("helper.recorded");
    // The agent does nothing by itself but run a main program; all else waits for the engine.
    let waits = request.runs || request.sandbox.is_some();
    if !waits {
        tell(&sync, GO)?;
    }
    if let Some(lease) = &request.lease {
        plug(request, lease, &proc)?;
    }
    fault::point("helper.plugged");
    lap(timings, "net", at);
    if waits {
        tell(&sync, GO)?;
    }
    let at = Instant::now();
    // Closed by the execution of the agent; anything that comes before is what went wrong.
    let mut said = Vec::new();
    match sync.read_to_end(&mut said) {
        Ok(0) => {
            lap(timings, "inside", at);
            return Ok(());
        }
        Ok(_) => {}
        // It ended before it heard our last word; what it said, if anything, is here.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(Failure::at("listen to the box's first process")(error)),
    }
    match serde_json::from_slice(&said) {
        Ok(failure) => Err(failure),
        Err(_) => Err(Failure {
            step: "start the box's first process".to_owned(),
            message: "it ended half-way".to_owned(),
            errno: None,
        }),
    }
}

fn plug(request: &Start, lease: &boxherd_net::Lease, proc: &str) -> Result<(), Failure> {
    let netns = File::open(format!("{proc}/ns/net")).map_err(Failure::at("open its network"))?;
    let (data, installation) = &request.networks;
    let plugged = Networks::open(data, installation).and_then(|n| n.plug(lease, netns.as_fd()));
    plugged.map_err(|error| Failure {
        step: format!("plug the box into network `{}`", lease.network()),
        message: chain(&error),
        errno: None,
    })
}

/// An error and its sources, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Acts under another id, with the capabilities kept. The kernel charges what a user namespace uses
/// of inotify, keys and the like to the id of whoever made it, so that is the box's own.
fn take_on(id: u32) -> rustix::io::Result<()> {
    set_thread_res_uid(None, rustix::process::Uid::from_raw(id), None)
}

/// Tells the child to go on. One that has ended meanwhile has said why, which is read later.
pub(super) fn tell(mut sync: &File, what: u8) -> Result<(), Failure> {
    match sync.write_all(&[what]) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told.map_err(Failure::at("talk to the box's first process")),
    }
}

pub(super) fn map_ids(proc: &str, ids: HostIds) -> io::Result<()> {
    let map = match ids {
        // The kernel wants extents that lie within those of the namespace around it.
        HostIds { own: true, count: 2.., .. } => format!("0 0 1\n1 1 {}\n", ids.count - 1),
        _ => format!("0 {} {}\n", ids.first, ids.count),
    };
    for file in ["gid_map", "uid_map"] {
        let mut file = File::options().write(true).open(format!("{proc}/{file}"))?;
        file.write_all(map.as_bytes())?;
    }
    Ok(())
}

/// Written before the box runs anything of its own, so that no crash leaves a box nobody knows of.
fn write_runtime(request: &Start, fds: &StartFds, pid: Pid) -> io::Result<()> {
    let pid = pid.as_raw_nonzero().get();
    let start_time = crate::process::start_time(pid)?.unwrap_or(0);
    let runtime = Runtime { pid, start_time, boot_id: request.boot_id.clone() };
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(&fds.folder, "runtime.json", flags, Mode::from_raw_mode(0o600))?;
    File::from(file).write_all(&serde_json::to_vec(&runtime)?)
}

/// Mounts that are attached nowhere yet. The child, which inherits the descriptors, attaches them.
#[derive(Debug)]
pub(super) struct Mounts {
    /// The writable layer.
    pub(super) layer: OwnedFd,
    /// Lower layers, topmost first.
    pub(super) lower: Vec<OwnedFd>,
    /// Folders and files of the host, by the path at which they appear.
    pub(super) binds: Vec<(String, OwnedFd)>,
    /// Device files.
    pub(super) devices: OwnedFd,
    pub(super) jail: Option<JailMounts>,
}

/// What is mounted around a sandbox and not in it.
#[derive(Debug)]
pub(super) struct JailMounts {
    pub(super) runsc: OwnedFd,
    pub(super) agent: OwnedFd,
    /// Where memory is saved.
    pub(super) memory: OwnedFd,
}

impl Mounts {
    fn open(request: &Start, fds: &StartFds, ids: HostIds) -> Result<Self, Failure> {
        let layer = folder(&fds.layer, ids).map_err(Failure::at("clone the mount of the layer"))?;
        let no_dev = Attributes { no_dev: true, ..Attributes::default() };
        set_attributes(layer.as_fd(), no_dev).map_err(Failure::at("restrict the layer's mount"))?;
        let read_only = Attributes { read_only: true, no_dev: true, ..Attributes::default() };
        let devices = folder(&fds.devices, ids).map_err(Failure::at("clone the mount of `dev`"))?;
        let mut this = Self { layer, lower: Vec::new(), binds: Vec::new(), devices, jail: None };
        for path in &request.root.binds {
            this.binds.push((path.clone(), bind(path, read_only)?));
        }
        for path in &request.root.layers {
            this.lower.push(bind(&path.to_string_lossy(), Attributes::default())?);
        }
        let no_exec =
            Attributes { read_only: true, no_suid: true, no_exec: true, ..Attributes::default() };
        set_attributes(this.devices.as_fd(), no_exec).map_err(Failure::at("restrict `/dev`"))?;
        if let Some(sandbox) = &request.sandbox {
            let agent = detach(&fds.agent, "").map_err(Failure::at("bind the agent"))?;
            set_attributes(agent.as_fd(), read_only).map_err(Failure::at("restrict the agent"))?;
            this.jail = Some(JailMounts {
                runsc: bind(&sandbox.runsc.to_string_lossy(), read_only)?,
                agent,
                memory: bind(&sandbox.memory.to_string_lossy(), Attributes::default())?,
            });
        }
        if ids.own {
            for path in devices::bound() {
                let tree = bind(&path, Attributes { no_exec: true, ..Attributes::default() })?;
                this.binds.push((path, tree));
            }
        }
        Ok(this)
    }

    /// Has the files of layers, which belong to ids inside the box, belong to its host ids.
    fn map_ids(&self, proc: &str, volumes: &[OwnedFd]) -> Result<(), Failure> {
        let userns =
            File::open(format!("{proc}/ns/user")).map_err(Failure::at("open its namespace"))?;
        let memory = self.jail.as_ref().map(|jail| &jail.memory);
        for tree in std::iter::once(&self.layer).chain(&self.lower).chain(memory) {
            let attributes = Attributes { id_map: Some(userns.as_fd()), ..Attributes::default() };
            set_attributes(tree.as_fd(), attributes)
                .map_err(Failure::at("map ids on the data folder's filesystem"))?;
        }
        for tree in volumes {
            mapped(tree.as_fd(), userns.as_fd()).map_err(Failure::at("map ids on a disk"))?;
        }
        Ok(())
    }
}

/// The mount of a folder that the engine has opened. An ordinary user's helper is in mounts of its
/// own, which do not have the engine's descriptor, but the same paths.
fn folder(fd: &OwnedFd, ids: HostIds) -> io::Result<OwnedFd> {
    if !ids.own {
        return Ok(detach(fd, "")?);
    }
    let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(detach(rustix::fs::CWD, path.as_path())?)
}

fn bind(path: &str, attributes: Attributes<'_>) -> Result<OwnedFd, Failure> {
    let tree = detach(rustix::fs::CWD, path).map_err(Failure::at(format!("bind `{path}`")))?;
    set_attributes(tree.as_fd(), attributes)
        .map_err(Failure::at(format!("restrict the mount of `{path}`")))?;
    Ok(tree)
}

pub(super) fn detach(base: impl std::os::fd::AsFd, path: impl Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(base, path, flags)
}

fn lap(timings: &mut Vec<(String, u64)>, name: &str, since: Instant) {
    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    timings.push((name.to_owned(), micros));
}
