//! Which system calls a box may make.
//!
//! [`policy`] is the list, as data with a reason beside each group; `program` turns it into a BPF
//! program. The program is a binary search over ranges of call numbers: the kernel runs it once for
//! every number when it is installed, so its depth is part of the time a box takes to start.

pub mod policy;
mod program;

use std::io;

pub use policy::{Decision, Policy};
pub use program::Program;

impl Program {
    /// Binds this process and everything it becomes or starts. The caller must have
    /// `no_new_privs` set, or CAP_SYS_ADMIN in its user namespace.
    pub fn install(&self) -> io::Result<()> {
        let length = u16::try_from(self.instructions().len()).map_err(io::Error::other)?;
        let filter = self.instructions().as_ptr().cast_mut().cast::<libc::sock_filter>();
        let program = libc::sock_fprog { len: length, filter };
        // SAFETY: `program` points to `length` instructions of a layout that `Instruction` shares
        // with the kernel's `sock_filter`, which the kernel copies and checks.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests;
