//! A host name for one thread and what it starts.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread, and every thread and process that it starts from now on, a UTS
/// namespace of its own. Needs CAP_SYS_ADMIN.
pub fn unshare_uts() -> io::Result<()> {
    // SAFETY: only the host name changes hands. Unlike the file system context or the descriptor
    // table, nothing in this process relies on threads sharing it.
    unsafe { unshare_unsafe(UnshareFlags::NEWUTS) }?;
    Ok(())
}
