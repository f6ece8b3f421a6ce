//! The helper's half of a start: what needs the host's privileges.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
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

use super::child;
use super::serve::{HostIds, Kept};
use super::wire::{self, Begin, Failure, Start, StartFds, Started};
use crate::disks::mapped;
use crate::record::Runtime;
use crate::root::devices;

pub(super) const NAMESPACES: i32 =
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC;

/// Says to a child that its ids exist.
pub(super) const IDS: u8 = b'i';
/// Says to the child that the box is on record, and has what its main program needs.
pub(super) const GO: u8 = b'g';

/// The first process of a box in its namespaces, which waits to hear what it is. It ends when it hears
/// that nobody is there to say it.
#[derive(Debug)]
pub(super) struct Half {
    pid: Pid,
    pidfd: OwnedFd,
    sync: OwnedFd,
    ids: HostIds,
}

impl Half {
    /// Ends it: it may be waiting for us, or have ended already, and then there is nothing to end.
    pub(super) fn end(self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// A box whose agent executes.
pub(super) struct Launched {
    pub(super) started: Started,
    pub(super) pidfd: OwnedFd,
    /// Closed when the answer is on its way.
    _done_with: (StartFds, Mounts),
}

/// Makes the first process of a box.
pub(super) fn begin(kept: &Kept, begin: &Begin, fds: Vec<OwnedFd>) -> Result<Half, Failure> {
    let ids = kept.ids(begin.uids)?;
    let group = fds.first().filter(|_| begin.unified);
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (sync, theirs) = pair.map_err(Failure::at("make a socket pair"))?;
    if !ids.own {
        take_on(ids.first).map_err(Failure::at("take on the box's id"))?;
    }
    let forked = kept.alone.fork(NAMESPACES, group.map(OwnedFd::as_fd));
    if let Ok(Forked::Child) = forked {
        child::run(kept, begin, ids, theirs);
        exit_now(1);
    }
    if !ids.own {
        take_on(0).map_err(Failure::at("take back the own id"))?;
    }
    let forked = forked.map_err(Failure::at("make the box's namespaces"))?;
    let Forked::Parent { pid, pidfd } = forked else { exit_now(1) };
    fault::point("helper.cloned");
    let half = Half { pid, pidfd, sync, ids };
    let mapped = map_ids(&format!("/proc/{}", pid.as_raw_nonzero()), ids);
    let mapped = mapped.map_err(Failure::at("map the box's ids"));
    fault::point("helper.mapped");
    match mapped.and_then(|()| told(&half.sync, tell(&half.sync, IDS))) {
        Ok(()) => Ok(half),
        Err(failure) => {
            half.end();
            Err(failure)
        }
    }
}

/// Says to the first process of a box what it is, and returns when the box's agent executes.
pub(super) fn finish(
    half: Half,
    (text, request): (&[u8], &Start),
    mut fds: StartFds,
) -> Result<Launched, Failure> {
    let mut timings = Vec::new();
    match attend(&half, (text, request), &fds, &mut timings) {
        Ok(mounts) => {
            // So that nobody but the box keeps a disk busy once the answer is there.
            fds.volumes.clear();
            let started = Started { pid: half.pid.as_raw_nonzero().get(), timings };
            Ok(Launched { started, pidfd: half.pidfd, _done_with: (fds, mounts) })
        }
        Err(failure) => {
            half.end();
            Err(failure)
        }
    }
}

/// What the first process waits for, in the order it does.
fn attend(
    half: &Half,
    (text, request): (&[u8], &Start),
    fds: &StartFds,
    timings: &mut Vec<(String, u64)>,
) -> Result<Mounts, Failure> {
    let (sync, ids) = (&half.sync, half.ids);
    let proc = format!("/proc/{}", half.pid.as_raw_nonzero());
    let at = Instant::now();
    told(sync, wire::send_text(sync, text, &fds.to_vec()))?;
    let mounts = Mounts::open(request, fds, ids)?;
    if !ids.own {
        mounts.map_ids(&proc, &fds.volumes)?;
    }
    told(sync, wire::send_fds(sync, &mounts.to_vec()))?;
    lap(timings, "mounts", at);
    let at = Instant::now();
    write_runtime(request, fds, half.pid).map_err(Failure::at("write `runtime.json`"))?;
    fault::point("helper.recorded");
    // The agent does nothing by itself but run a main program; all else waits for the engine.
    let waits = request.runs || request.sandbox.is_some();
    if !waits {
        told(sync, tell(sync, GO))?;
    }
    if let Some(lease) = &request.lease {
        plug(request, lease, &proc)?;
    }
    fault::point("helper.plugged");
    lap(timings, "net", at);
    if waits {
        told(sync, tell(sync, GO))?;
    }
    let at = Instant::now();
    // Closed by the execution of the agent; anything that comes before is what went wrong.
    match wire::receive::<Failure>(sync) {
        Ok(None) => {
            lap(timings, "inside", at);
            Ok(mounts)
        }
        heard => Err(last_words(sync, heard)),
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

/// Tells the child to go on.
pub(super) fn tell(sync: &OwnedFd, what: u8) -> io::Result<()> {
    rustix::io::write(sync, &[what])?;
    Ok(())
}

/// One that hears no more has ended, and has said why.
fn told(sync: &OwnedFd, told: io::Result<()>) -> Result<(), Failure> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    told.map_err(|error| match error.kind() {
        BrokenPipe | ConnectionReset => last_words(sync, wire::receive(sync)),
        _ => Failure::at("talk to the box's first process")(error),
    })
}

/// Why the first process does not become the box's agent.
fn last_words(sync: &OwnedFd, heard: io::Result<Option<(Failure, Vec<OwnedFd>)>>) -> Failure {
    let heard = match heard {
        // It ended before it heard all, which is told first.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => wire::receive(sync),
        heard => heard,
    };
    match heard {
        Ok(Some((failure, _))) => failure,
        Ok(None) => {
            Failure::at("start the box's first process")(io::Error::other("it ended half-way"))
        }
        Err(error) => Failure::at("listen to the box's first process")(error),
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

/// Mounts that are attached nowhere yet. The child, which is given the descriptors, attaches them.
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

    /// In the order of [`receive`](Self::receive).
    fn to_vec(&self) -> Vec<BorrowedFd<'_>> {
        let Self { layer, lower, binds, devices, jail } = self;
        let jail = jail.iter().flat_map(|jail| [&jail.runsc, &jail.agent, &jail.memory]);
        let binds = binds.iter().map(|(_, tree)| tree);
        [layer, devices]
            .into_iter()
            .chain(lower)
            .chain(binds)
            .chain(jail)
            .map(AsFd::as_fd)
            .collect()
    }

    /// What the helper has opened for the first process that `request` is for.
    pub(super) fn receive(sync: &OwnedFd, request: &Start, ids: HostIds) -> Result<Self, Failure> {
        let own = ids.own.then(devices::bound).into_iter().flatten();
        let paths: Vec<_> = request.root.binds.iter().cloned().chain(own).collect();
        let lower = request.root.layers.len();
        let jail = if request.sandbox.is_some() { 3 } else { 0 };
        let received = wire::receive_fds(sync, 2 + lower + paths.len() + jail);
        let at = || Failure::at("listen to the helper");
        let gone = || at()(io::Error::from(io::ErrorKind::UnexpectedEof));
        let mut fds = received.map_err(at())?.ok_or_else(gone)?.into_iter();
        let mut next = || fds.next().ok_or_else(gone);
        Ok(Self {
            layer: next()?,
            devices: next()?,
            lower: (0..lower).map(|_| next()).collect::<Result<_, _>>()?,
            binds: paths
                .into_iter()
                .map(|path| Ok((path, next()?)))
                .collect::<Result<_, Failure>>()?,
            jail: match jail {
                0 => None,
                _ => Some(JailMounts { runsc: next()?, agent: next()?, memory: next()? }),
            },
        })
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

pub(super) fn detach(base: impl AsFd, path: impl Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(base, path, flags)
}

fn lap(timings: &mut Vec<(String, u64)>, name: &str, since: Instant) {
    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    timings.push((name.to_owned(), micros));
}
