//! What a box has mounted, mounted by its first process.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use boxherd_sys::mount::{Attributes, set_attributes};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, move_mount, open_tree,
};

use super::serve::HostIds;
use super::wire::Failure;

/// Filesystems of the kernel that are attached nowhere yet, by path.
pub(super) type Kernel = Vec<(&'static str, OwnedFd)>;

pub(super) fn attach(tree: &OwnedFd, path: &str) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", rustix::fs::CWD, path, flags)
        .map_err(Failure::at(format!("mount on `{path}`")))
}

/// The same where there may be nothing yet: an image may have no more than one program.
pub(super) fn attach_anew(tree: &OwnedFd, path: &str) -> Result<(), Failure> {
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
/// read-only without a word. By the older call: the newer ones take a text of 255 bytes, which sixteen
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
pub(super) fn kernel(nesting: bool, ids: HostIds) -> Result<Kernel, Failure> {
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

pub(super) fn mask() -> Result<(), Failure> {
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
