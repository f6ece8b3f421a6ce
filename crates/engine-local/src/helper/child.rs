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
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root, setsid};
use rustix::thread::{
    CapabilitySet, remove_capability_from_bounding_set, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::jail;
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

/// Filesystems of the kernel that are attached nowhere yet, by path.
type Kernel = Vec<(&'static str, OwnedFd)>;

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

pub(super) fn attach(tree: &OwnedFd, path: &str) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", rustix::fs::CWD, path, flags)
        .map_err(Failure::at(format!("mount on `{path}`")))
}

/// The same where there may be nothing yet: an image may have no more than one program.
fn attach_anew(tree: &OwnedFd, path: &str) -> Result<(), Failure> {
    match attach(tree, path) {
        Err(failure) if failure.errno == Some(Errno::NOENT.raw_os_error()) => {
            fs::create_dir(path).map_err(Failure::at(format!("make `{path}`")))?;
            attach(tree, path)
        }
        attached => attached,
    }
}

/// Attaches the layers somewhere below the old root, with which they go: an overlay takes mounts of
/// this process's mount namespace only, and keeps those it has.
pub(super) fn stage(layer: &OwnedFd, lower: &[OwnedFd]) -> Result<(), Failure> {
    std::iter::once(layer).chain(lower).try_for_each(|tree| attach(tree, STAGE))
}

/// A folder that every host has, and that nothing is looked for in until the root has changed.
const STAGE: &str = "/usr";

/// The root of a box, mounted from inside: outside, an upper folder with an id map would make it
/// read-only without a word. By the older call: the newer ones take a text of 255 bytes, which twenty
/// layers exceed, and a layer at a time only since Linux 6.8. It is on top of what is staged, from where
/// it is moved.
///
/// The kernel writes the whole filesystem of the upper folder to the disk when an overlay is
/// unmounted, and whoever waits for the box's end waits for that, unless the box is `passing`.
pub(super) fn overlay(
    layer: &OwnedFd,
    lower: &[OwnedFd],
    passing: bool,
) -> Result<OwnedFd, Failure> {
    use std::os::fd::AsRawFd as _;
    const STEP: &str = "mount the overlay of the root";
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower = lower.iter().map(path).collect::<Vec<_>>().join(":");
    let upper = path(layer);
    let passing = if passing { ",volatile" } else { "" };
    let options =
        format!("lowerdir={lower},upperdir={upper}/root,workdir={upper}/work,userxattr{passing}");
    // The rest would be cut off without a word.
    let fits = CString::new(options).ok().filter(|options| options.count_bytes() < PAGE);
    let many =
        || Failure::at(STEP)(io::Error::other("the image has too many layers for one mount"));
    let options = fits.ok_or_else(many)?;
    mount("overlay", STAGE, "overlay", MountFlags::NODEV, options.as_c_str())
        .map_err(Failure::at(STEP))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(STAGE, flags, Mode::empty()).map_err(Failure::at(STEP))
}

/// What the kernel takes of the options of a mount, in bytes.
const PAGE: usize = 4096;

pub(super) const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A filesystem of the kernel: type, where, options, attributes.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], MountAttrFlags);

const KERNEL: [Row; 6] = [
    ("proc", "/proc", &[], PLAIN),
    ("sysfs", "/sys", &[], PLAIN.union(MountAttrFlags::MOUNT_ATTR_RDONLY)),
    (
        "devpts",
        "/dev/pts",
        // The machine has 4,096 terminals (`kernel.pty.max`), of which no box may take all.
        &[("gid", "5"), ("mode", "620"), ("ptmxmode", "666"), ("max", "256")],
        MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ),
    (
        "tmpfs",
        "/dev/shm",
        &[("mode", "1777")],
        MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV),
    ),
    ("mqueue", "/dev/mqueue", &[], PLAIN),
    (
        "tmpfs",
        "/run",
        &[("mode", "755")],
        MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV),
    ),
];

/// They are made before the root changes: as long as this process could see all of the host's `/proc`
/// and `/sys`, the kernel lets it have its own.
fn kernel(nesting: bool, ids: HostIds) -> Result<Kernel, Failure> {
    let row = |(kind, path, options, attributes): Row| {
        // A group that has no id here is an error.
        let known = |(name, _): &&(&str, &str)| ids.count > 1 || *name != "gid";
        let options: Vec<_> = options.iter().filter(known).copied().collect();
        let attributes = match kind {
            // Containers inside want to mount parts of it again, which a mask would forbid.
            "sysfs" if nesting => PLAIN,
            _ => attributes,
        };
        let mounted = mount_detached(kind, &options, attributes);
        mounted.map(|tree| (path, tree)).map_err(Failure::at(format!("mount {kind} on `{path}`")))
    };
    KERNEL.into_iter().map(row).collect()
}

pub(super) fn mount_detached(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let filesystem = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&filesystem, *key, *value)?;
    }
    fsconfig_create(&filesystem)?;
    fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Hidden behind `/dev/null`: what tells of the host, or has told too much before.
const MASKED: [&str; 7] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
    "/proc/kallsyms",
];
/// Hidden behind an empty folder that cannot be written to.
const EMPTIED: [&str; 4] = ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/kernel/debug"];
/// Left to be read.
const READ_ONLY: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

fn mask() -> Result<(), Failure> {
    use boxherd_sys::mount::{Attributes, set_attributes};
    use rustix::mount::{OpenTreeFlags, open_tree};
    let clone = |path: &str| {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(rustix::fs::CWD, path, flags)
    };
    // What this kernel does not have needs no cover. It is looked for first: a mount that is let go
    // of without having been attached costs a grace period of the kernel's.
    let cover = |source: &str, path: &str| match Path::new(path).exists() {
        true => attach(&clone(source).map_err(Failure::at(format!("cover `{path}`")))?, path),
        false => Ok(()),
    };
    MASKED.iter().try_for_each(|path| cover("/dev/null", path))?;
    // A folder of the shared `/dev`, which is read-only, and so is a mount of a part of it.
    EMPTIED.iter().try_for_each(|path| cover("/dev/.empty", path))?;
    READ_ONLY.iter().try_for_each(|path| {
        let tree = match clone(path) {
            Err(Errno::NOENT) => return Ok(()),
            tree => tree.map_err(Failure::at(format!("cover `{path}`")))?,
        };
        let attributes = Attributes { read_only: true, ..Attributes::default() };
        set_attributes(tree.as_fd(), attributes)
            .map_err(Failure::at(format!("restrict `{path}`")))?;
        attach(&tree, path)
    })
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
