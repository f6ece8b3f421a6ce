//! The box's first process, until it is the agent.
//!
//! It is a copy of the helper in namespaces of its own. It has no privilege outside them, and what
//! it does to files, it does as the box's root: it follows links of the box only after the host's
//! files are out of reach.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use boxherd_sys::clone::{CLONE_NEWCGROUP, default_signals, unshare};
use boxherd_sys::exec::{exec_fd, hand_on, keep_only};
use boxherd_sys::seccomp::Program;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{chdir, fchdir, pivot_root, setsid};
use rustix::thread::{
    CapabilitySet, remove_capability_from_bounding_set, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::jail;
use super::mounts::{Kernel, attach, attach_anew, kernel, mask, overlay, stage};
use super::serve::{HostIds, Kept};
use super::start::{GO, IDS, Mounts, chain};
use super::volumes;
use super::wire::{self, Begin, Failure, Start, StartFds};
use crate::identity;

/// What the child has in its hands.
pub(super) struct Inside<'a> {
    pub(super) request: &'a Start,
    pub(super) fds: StartFds,
    pub(super) ids: HostIds,
}

/// Waits to hear what box this is, and becomes it, or says through `sync` why not.
pub(super) fn run(kept: &Kept, begin: &Begin, ids: HostIds, sync: OwnedFd) {
    // Above the numbers that the agent is handed. Of what the helper has, nothing else stays.
    let sync = rustix::io::fcntl_dupfd_cloexec(sync, 64).map_err(io::Error::from);
    let Ok(sync) = sync.and_then(keep_only) else { return };
    let heard = settle(begin, ids, &sync).and_then(|kernel| Ok((kernel, hear(&sync)?)));
    let (kernel, request, fds) = match heard {
        Ok((kernel, Some((request, fds)))) => (kernel, request, fds),
        // It is not wanted, or nobody is there any more.
        Ok((_, None)) => return,
        Err(failure) => return report(sync, &failure),
    };
    let inside = Inside { request: &request, fds, ids };
    if let Some(sandbox) = &request.sandbox {
        return jail::run(inside, sandbox, sync);
    }
    let Err(failure) = become_agent(inside, kept, (begin.nesting, kernel), &sync);
    report(sync, &failure);
}

/// Does what is the same for every box, while the rest of this one is made.
fn settle(begin: &Begin, ids: HostIds, sync: &OwnedFd) -> Result<Kernel, Failure> {
    wait_for(sync, IDS)?;
    become_root(ids).map_err(Failure::at("become the box's root"))?;
    // Not in vain: a mount that is let go of without having been attached costs a grace period of the
    // kernel's.
    if begin.sandboxed {
        return Ok(Kernel::new());
    }
    // Not before it has a session of its own: till then the terminal's signals are its helper's, too.
    default_signals();
    if !begin.nesting {
        drop_capabilities(ids)?;
    }
    kernel(begin.nesting, ids)
}

fn hear(sync: &OwnedFd) -> Result<Option<(Start, StartFds)>, Failure> {
    let at = || Failure::at("listen to the helper");
    let Some((request, fds)) = wire::receive::<Start>(sync).map_err(at())? else { return Ok(None) };
    let missing = || at()(io::Error::other("descriptors are missing"));
    let fds = StartFds::from_vec(&request, fds).ok_or_else(missing)?;
    Ok(Some((request, fds)))
}

/// Nobody listens any more when the helper is gone; then nobody waits either.
pub(super) fn report(sync: OwnedFd, failure: &Failure) {
    drop(File::from(sync).write_all(&serde_json::to_vec(failure).unwrap_or_default()));
}

fn become_agent(
    inside: Inside<'_>,
    kept: &Kept,
    (nesting, kernel): (bool, Kernel),
    sync: &OwnedFd,
) -> Result<std::convert::Infallible, Failure> {
    let Inside { request, fds, ids } = inside;
    join_groups(&fds.tasks)?;
    let mounts = Mounts::receive(sync, request, ids)?;
    enter_root(request, mounts, kernel)?;
    if !nesting {
        mask()?;
    }
    chdir("/").map_err(Failure::at("enter the box's root"))?;
    for (path, tree) in request.volumes.iter().zip(&fds.volumes) {
        volumes::mount_at(tree, path)?;
    }
    rustix::system::sethostname(request.hostname.as_bytes())
        .map_err(Failure::at("set the host name"))?;
    write_files(request);
    if request.lease.is_none() {
        boxherd_net::raise_loopback().map_err(|error| Failure {
            step: "bring up the loopback device".to_owned(),
            message: chain(&error),
            errno: None,
        })?;
    }
    execute(fds, &kept.filters[usize::from(nesting)], sync)
}

/// Joins the groups of v1 hierarchies, then makes them the root of what the box sees of groups.
pub(super) fn join_groups(tasks: &[OwnedFd]) -> Result<(), Failure> {
    for group in tasks {
        rustix::io::write(group, b"0").map_err(Failure::at("join a control group"))?;
    }
    unshare(CLONE_NEWCGROUP).map_err(Failure::at("make a cgroup namespace"))
}

/// Waits for a word of the helper's. Without a helper there is no box.
pub(super) fn wait_for(sync: &OwnedFd, word: u8) -> Result<(), Failure> {
    let mut heard = [0];
    let copy = sync.try_clone().map_err(Failure::at("listen to the helper"))?;
    File::from(copy).read_exact(&mut heard).map_err(Failure::at("listen to the helper"))?;
    match heard[0] == word {
        true => Ok(()),
        false => Err(Failure::at("listen to the helper")(io::Error::other("unexpected word"))),
    }
}

pub(super) fn become_root(ids: HostIds) -> io::Result<()> {
    use rustix::process::{Gid, Uid};
    setsid()?;
    // With one id, nobody may change groups.
    if ids.count > 1 {
        set_thread_groups(&[])?;
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    Ok(())
}

/// Makes the box's root the only one, and mounts what belongs below it.
fn enter_root(request: &Start, mounts: Mounts, kernel: Kernel) -> Result<(), Failure> {
    let Mounts { layer, lower, binds, devices, jail: _ } = mounts;
    stage(&layer, &lower)?;
    let root = overlay(&layer, &lower, request.root.passing)?;
    attach(&root, "/")?;
    fchdir(&root).map_err(Failure::at("enter the box's root"))?;
    // The old root ends on top of the new one, from where it is taken away below.
    pivot_root(".", ".").map_err(Failure::at("change the root"))?;
    attach_anew(&devices, "/dev")?;
    for (path, tree) in &binds {
        attach(tree, path)?;
    }
    for (path, tree) in &kernel {
        attach_anew(tree, path)?;
    }
    unmount(".", UnmountFlags::DETACH).map_err(Failure::at("let go of the host's root"))
}

/// The files that depend on the start. The box may have put anything in their place, so that not
/// one of them can keep it from starting.
fn write_files(request: &Start) {
    if request.new_identity {
        forget_keys();
    }
    // An image may have none.
    drop(fs::create_dir("/etc"));
    // A folder that was not there has none of them.
    let new = fs::create_dir(identity::FOLDER).is_ok();
    for (path, content) in &request.files {
        if new && Path::new(path).starts_with(identity::FOLDER) {
            drop(fs::write(path, content));
            continue;
        }
        if fs::read_to_string(path).is_ok_and(|present| identity::is_kept(&present, content)) {
            continue;
        }
        drop(fs::remove_file(path));
        drop(fs::write(path, content));
    }
}

/// A copy must not be mistaken for what it is a copy of.
fn forget_keys() {
    let keys = fs::read_dir("/etc/ssh").into_iter().flatten().flatten().filter(|entry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with("ssh_host_"))
    });
    // Made anew by whoever starts `sshd`, as after the first boot of any machine.
    keys.for_each(|key| drop(fs::remove_file(key.path())));
}

/// What a box's root is left with: enough for accounts, packages, `ping` and debuggers. The rest
/// opens parts of the kernel that few programs need, with `nesting` among them.
pub(super) const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Takes the others out of the set that bounds what programs can gain.
///
/// The agent of an ordinary user's box executes a file of that user, who is the box's root. What
/// keeps box root from looking into it is that it may not trace what does not want to be.
fn drop_capabilities(ids: HostIds) -> Result<(), Failure> {
    let kept = if ids.own { KEPT.difference(CapabilitySet::SYS_PTRACE) } else { KEPT };
    for bit in 0..64 {
        let Some(capability) = CapabilitySet::from_bits(1 << bit) else { continue };
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Newer than this kernel, as are all that follow.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(Failure::at("drop capabilities")(errno)),
        }
    }
    Ok(())
}

fn execute(
    fds: StartFds,
    filter: &Program,
    sync: &OwnedFd,
) -> Result<std::convert::Infallible, Failure> {
    let at = || Failure::at("hand descriptors to the agent");
    let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let stdio =
        [null(), null(), null()].into_iter().collect::<io::Result<Vec<_>>>().map_err(at())?;
    let StartFds { agent, listener, config, console, exit, memory, .. } = fds;
    let agent = rustix::io::fcntl_dupfd_cloexec(agent, 64);
    let agent = agent.map_err(Failure::at("hand descriptors to the agent"))?;
    let memory = memory.into_iter().flat_map(|watch| [watch.bell, watch.kills]);
    let handed = stdio.into_iter().chain([listener, config, console, exit]).chain(memory);
    hand_on(handed.map(Some).collect()).map_err(at())?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let argv = [CString::from(c"boxherd-agent")];
    let env = [CString::from(c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")];
    wait_for(sync, GO)?;
    filter.install().map_err(Failure::at("install the system call filter"))?;
    Err(Failure::at("execute the agent")(exec_fd(agent.as_fd(), &argv, &env)))
}
