//! What is around a box that has a kernel of its own: gVisor, in the namespaces, control groups and
//! ids that any other box has.
//!
//! The box's root is a folder here, next to what gVisor needs: its program, the agent, a place to
//! save memory to. None of that is seen from inside; what breaks out of gVisor finds this.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;

use boxherd_link::agent_config::{DOOR, SANDBOXED};
use boxherd_sys::clone::default_signals;
use boxherd_sys::exec::{close_from, hand_on};
use boxherd_sys::init::take_inherited;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{chdir, fchdir, pivot_root};
use rustix::thread::CapabilitySet;
use serde_json::{Value, json};

use super::child::{Inside, KEPT, join_groups, report, wait_for};
use super::mounts::{PLAIN, attach, mount_detached, overlay, stage};
use super::start::{GO, Mounts};
use super::warden;
use super::wire::{Failure, Sandbox, Start, StartFds};
use crate::cgroup::MemoryWatch;

/// The folders of a jail. `root` is the box's.
const FOLDERS: [&str; 9] =
    ["/root", "/proc", "/dev", "/sys", "/tmp", "/etc", "/state", "/bundle", "/memory"];
/// What the box sees as [`DOOR`].
pub(super) const INNER_DOOR: &str = "/door";
/// gVisor's program.
pub(super) const RUNSC: &str = "/runsc";

/// Becomes the warden of a sandbox, or says through `sync` why not.
pub(super) fn run(inside: Inside<'_>, sandbox: &Sandbox, sync: OwnedFd) {
    let networked = inside.request.lease.is_some();
    let fds = match enter(inside, &sync) {
        Ok(fds) => fds,
        Err(failure) => return report(sync, &failure),
    };
    // Without descriptors it can say nothing; the helper hears that it ended half-way.
    let Ok(hands) = hands(fds, sync) else { return };
    let (sync, failure) = warden::start(hands, sandbox.restore, networked);
    report(sync, &failure);
}

fn enter(inside: Inside<'_>, sync: &OwnedFd) -> Result<StartFds, Failure> {
    let Inside { request, fds, ids } = inside;
    join_groups(&fds.tasks)?;
    let mounts = Mounts::receive(sync, request, ids)?;
    enter_jail(mounts, request)?;
    fs::write("/bundle/config.json", specification(request).to_string())
        .map_err(Failure::at("write gVisor's configuration"))?;
    wait_for(sync, GO)?;
    if request.lease.is_some() {
        hide_that_networks_have_settings()?;
    }
    Ok(fds)
}

fn enter_jail(mounts: Mounts, request: &Start) -> Result<(), Failure> {
    let Mounts { layer, lower, binds, devices, jail } = mounts;
    let jail = jail.ok_or_else(|| Failure::at("build the jail")(io::Error::other("no mounts")))?;
    stage(&layer, &lower)?;
    let root = overlay(&layer, &lower, request.root.passing)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let tmpfs = mount_detached("tmpfs", &[("mode", "755"), ("size", "16m")], attributes);
    let tmpfs = tmpfs.map_err(Failure::at("mount the jail"))?;
    attach(&tmpfs, "/")?;
    fchdir(&tmpfs).map_err(Failure::at("enter the jail"))?;
    // As for any box; see `enter_root`.
    pivot_root(".", ".").map_err(Failure::at("change the root"))?;
    furnish().map_err(Failure::at("furnish the jail"))?;
    attach(&root, "/root")?;
    for (path, tree) in &binds {
        attach_within(&root, tree, path)?;
    }
    if request.new_identity {
        forget_keys(&root);
    }
    let proc = mount_detached("proc", &[], PLAIN).map_err(Failure::at("mount proc on `/proc`"))?;
    attach(&proc, "/proc")?;
    attach(&devices, "/dev")?;
    attach(&jail.runsc, RUNSC)?;
    attach(&jail.agent, "/door/agent")?;
    attach(&jail.memory, "/memory")?;
    unmount(".", UnmountFlags::DETACH).map_err(Failure::at("let go of the host's root"))?;
    chdir("/").map_err(Failure::at("enter the jail"))
}

fn furnish() -> io::Result<()> {
    FOLDERS.iter().try_for_each(fs::create_dir)?;
    DirBuilder::new().mode(0o700).create(INNER_DOOR)?;
    [RUNSC, "/door/agent"].iter().try_for_each(|path| File::create(path).map(drop))
}

/// Mounts on a path of the box's root, whose links lead nowhere else.
fn attach_within(root: &OwnedFd, tree: &OwnedFd, path: &str) -> Result<(), Failure> {
    let at = || Failure::at(format!("mount on `{path}`"));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).map_err(at())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", &place, "", flags).map_err(at())
}

/// As for any box, of which nothing can keep another from starting.
fn forget_keys(root: &OwnedFd) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT;
    let Ok(folder) = openat2(root, "etc/ssh", flags, Mode::empty(), within) else { return };
    let entries = Dir::read_from(&folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_owned());
    let keys = names.filter(|name| name.to_bytes().starts_with(b"ssh_host_"));
    keys.for_each(|key| _ = unlinkat(&folder, key, AtFlags::empty()));
}

/// `runsc` takes a network namespace that has certain settings for the host's own. Since some kernel,
/// all have them.
fn hide_that_networks_have_settings() -> Result<(), Failure> {
    let at = || Failure::at("hide `/proc/sys/net/core`");
    attach(&mount_detached("tmpfs", &[], PLAIN).map_err(at())?, "/proc/sys/net/core")
}

/// Leaves this process what the warden needs and nothing else, neither of the host's nor the
/// helper's.
fn hands(fds: StartFds, sync: OwnedFd) -> io::Result<warden::Hands> {
    let null = File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from)?;
    let stdio = [null.try_clone()?, null.try_clone()?, null];
    let own = wardens(fds).ok_or_else(|| io::Error::other("no descriptor for orders"))?;
    let watched = own.len() > 5;
    let handed: Vec<_> = stdio.into_iter().chain([sync]).chain(own).map(Some).collect();
    let count = i32::try_from(handed.len()).map_err(io::Error::other)?;
    hand_on(handed)?;
    close_from(count)?;
    default_signals();
    let take = |number| take_inherited(number).ok_or_else(|| io::Error::other("it is closed"));
    Ok(warden::Hands {
        sync: take(3)?,
        links: take(4)?.into(),
        orders: take(5)?.into(),
        config: take(6)?,
        console: take(7)?,
        exit: take(8)?.into(),
        memory: match watched {
            true => Some(MemoryWatch { bell: take(9)?, kills: take(10)? }),
            false => None,
        },
    })
}

/// Those that the warden needs. The others are closed here by their owner, before numbers change
/// hands.
fn wardens(fds: StartFds) -> Option<Vec<OwnedFd>> {
    let StartFds { listener, orders, config, console, exit, memory, .. } = fds;
    let memory = memory.into_iter().flat_map(|watch| [watch.bell, watch.kills]);
    Some([listener, orders?, config, console, exit].into_iter().chain(memory).collect())
}

/// The box as gVisor is told of it (OCI runtime specification).
fn specification(request: &Start) -> Value {
    let kept = names(KEPT);
    // The agent names the box anew when memory is brought back in another. What it executes gets
    // no more than the bounding set.
    let agents = names(KEPT | CapabilitySet::SYS_ADMIN);
    let network = match request.lease {
        Some(_) => json!({"type": "network", "path": "/proc/self/ns/net"}),
        None => json!({"type": "network"}),
    };
    json!({
        "ociVersion": "1.0.2",
        "hostname": request.hostname,
        "root": {"path": "/root", "readonly": false},
        "process": {
            "args": [format!("{DOOR}/agent"), SANDBOXED],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "capabilities": {
                "bounding": kept, "inheritable": [], "ambient": [],
                "permitted": agents, "effective": agents,
            },
        },
        "mounts": mounts(),
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, network,
        ]},
    })
}

fn mounts() -> Vec<Value> {
    let tmpfs = |destination: &str, mode: &str| {
        let options = ["nosuid", "nodev", mode];
        json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
    };
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}),
        tmpfs("/dev/shm", "mode=1777"),
        tmpfs("/run", "mode=755"),
        json!({"destination": DOOR, "type": "bind", "source": INNER_DOOR, "options": ["rbind", "ro"]}),
    ];
    // gVisor puts memory on an empty one, and what lies there belongs to the disk. The box may have
    // made a link of it, which would lead to somewhere in the jail.
    if fs::symlink_metadata("/root/tmp").is_ok_and(|found| found.is_dir()) {
        mounts.push(
            json!({"destination": "/tmp", "type": "bind", "source": "/root/tmp", "options": ["bind"]}),
        );
    }
    mounts
}

/// As the specification spells them.
fn names(set: CapabilitySet) -> Vec<String> {
    set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}
