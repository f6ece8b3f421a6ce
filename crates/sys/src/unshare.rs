//! Namespaces for one thread and what it starts.

use std::io;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread, and every thread and process that it starts from now on, a host name
/// of its own. Needs CAP_SYS_ADMIN.
pub fn unshare_uts() -> io::Result<()> {
    // SAFETY: only the host name changes hands. Unlike the file system context or the descriptor
    // table, nothing in this process relies on threads sharing it.
    unsafe { unshare_unsafe(UnshareFlags::NEWUTS) }?;
    Ok(())
}

/// Gives the calling thread, and every thread and process that it starts from now on, mounts of its
/// own: what it mounts and unmounts is seen by nobody else. Its working directory and umask become
/// its own too. Needs CAP_SYS_ADMIN.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: the file system context becomes this thread's own. Callers hold no lock or pointer
    // that depends on threads sharing one; they only see fewer changes of others.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}

/// Gives the calling thread, and every thread and process that it starts from now on, a network of
/// its own with nothing but a loopback device that is down. Needs CAP_SYS_ADMIN.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: only which network new sockets of this thread belong to changes; those that are open
    // keep theirs.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}
