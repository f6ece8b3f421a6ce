//! Mounting disks in boxes: what a process does in a box's own mounts, as its root and with nothing
//! of the host in reach, so that no link of the box leads it out.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, mkdirat, open, openat2, statx,
};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{Gid, Uid, fchdir, umask};
use rustix::thread::{
    ThreadNameSpaceType, move_into_thread_name_spaces, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::wire::Failure;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The step that fails where the box's own files are in the way.
pub(crate) const PLACE: &str = "find a place for a disk at";

/// For a copy of the helper: mounts the second descriptor in the box whose first process the first
/// one follows.
pub(super) fn attach(path: &str, fds: Vec<OwnedFd>) -> Result<(), Failure> {
    let [pidfd, tree] = fds.try_into().map_err(|_| incomplete())?;
    enter(&pidfd).map_err(Failure::at("enter the box"))?;
    mount_at(&tree, path)
}

/// For a copy of the helper: unmounts the mount of that number and path in such a box.
pub(super) fn detach(path: &str, mount: u64, fds: Vec<OwnedFd>) -> Result<(), Failure> {
    let [pidfd] = fds.try_into().map_err(|_| incomplete())?;
    enter(&pidfd).map_err(Failure::at("enter the box"))?;
    unmount_at(path, mount).map_err(Failure::at(format!("unmount `{path}`")))
}

fn incomplete() -> Failure {
    Failure::at("read the request")(io::Error::other("descriptors are missing"))
}

/// Becomes the box's root, in the box's users and mounts.
fn enter(pidfd: &OwnedFd) -> rustix::io::Result<()> {
    // Both at once: box root, who may not look into the agent, could not enter the second.
    let both = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
    move_into_thread_name_spaces(pidfd.as_fd(), both)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// Mounts a detached mount on `path` below the root, which has to be a box's.
pub(super) fn mount_at(tree: &OwnedFd, path: &str) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let place = place(path).map_err(Failure::at(format!("{PLACE} `{path}`")))?;
    move_mount(tree, "", &place, "", flags)
        .map_err(Failure::at(format!("mount a disk on `{path}`")))
}

/// The folder at `path`, made where it is not there. Links of the box may lead to other places of its
/// root, but never over a mount: not to the kernel's files, nor to the host's.
fn place(path: &str) -> rustix::io::Result<OwnedFd> {
    let root = open("/", FOLDER, Mode::empty())?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    umask(Mode::from_raw_mode(0o022));
    let mut here = root.try_clone().map_err(|_| Errno::MFILE)?;
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    for end in ends {
        let so_far = &path[..end];
        here = match openat2(&root, so_far, FOLDER, Mode::empty(), inside) {
            Err(Errno::NOENT) => {
                let name = so_far.rsplit('/').next().unwrap_or_default();
                mkdirat(&here, name, Mode::from_raw_mode(0o755))?;
                let within =
                    ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
                openat2(&here, name, FOLDER, Mode::empty(), within)?
            }
            found => found?,
        };
    }
    Ok(here)
}

/// Unmounts what is mounted at `path` if it is that mount. What the box has mounted on top, or moved
/// out of the way meanwhile, keeps it busy.
fn unmount_at(path: &str, mount: u64) -> rustix::io::Result<()> {
    let (above, name) = path.rsplit_once('/').ok_or(Errno::INVAL)?;
    let root = open("/", FOLDER, Mode::empty())?;
    let straight = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let above = if above.is_empty() { "/" } else { above };
    fchdir(openat2(&root, above, FOLDER, Mode::empty(), straight)?)?;
    // A place where something is mounted cannot be renamed, so that it stays what is looked at here.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    if statx(CWD, name, flags, StatxFlags::MNT_ID)?.stx_mnt_id != mount {
        return Err(Errno::BUSY);
    }
    unmount(name, UnmountFlags::NOFOLLOW)
}
