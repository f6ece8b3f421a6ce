//! Opening what lies deep in a tree whose owner may change it meanwhile.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// The longest path that the kernel takes, with the zero at its end.
const LONGEST: usize = 4096;

/// Opens the folder at `path` below `root`; the root itself for an empty path. Follows no symlink
/// and leaves the tree by no way, and goes in steps where the path is longer than the kernel takes.
pub(super) fn open_folder(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    for step in steps(path) {
        let from = at.as_ref().map_or(root.as_fd(), OwnedFd::as_fd);
        at = Some(open_step(from, &step)?);
    }
    at.map_or_else(|| open_step(root.as_fd(), Path::new(".")), Ok)
}

fn open_step(from: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    loop {
        match openat2(from, path, flags, Mode::empty(), within) {
            // A rename anywhere on the host may have led the way out of the tree; or a signal came.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return Ok(opened?),
        }
    }
}

/// `path` in pieces that the kernel takes.
fn steps(path: &Path) -> Vec<PathBuf> {
    if path.as_os_str().len() < LONGEST {
        return if path.as_os_str().is_empty() { Vec::new() } else { vec![path.to_owned()] };
    }
    let mut steps = vec![PathBuf::new()];
    for name in path.components().filter(|part| matches!(part, Component::Normal(_))) {
        let full = |step: &PathBuf| step.as_os_str().len() + name.as_os_str().len() + 1 >= LONGEST;
        if steps.last().is_none_or(full) {
            steps.push(PathBuf::new());
        }
        if let Some(step) = steps.last_mut() {
            step.push(name);
        }
    }
    steps
}
