//! Making a process in namespaces of its own, from a process without threads.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::Pid;

pub use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER,
    CLONE_NEWUTS,
};

/// Of `linux/sched.h`; wider than the C library's flags.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Forked {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The new process, as this one sees it.
        pid: Pid,
        /// Follows the new process; readable once it has ended.
        pidfd: OwnedFd,
    },
}

/// Proof that this process had one thread when it was made, and that whoever made it promises to
/// start none while it exists: the copy of a process with threads may not even allocate.
#[derive(Debug)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// Counts the threads of this process.
    pub fn check() -> io::Result<Self> {
        let threads = fs::read_dir("/proc/self/task")?.count();
        if threads == 1 {
            return Ok(Self(()));
        }
        Err(io::Error::other(format!("this process has {threads} threads, only one is allowed")))
    }

    /// Copies this process; the copy is in new namespaces of the kinds in `namespaces`
    /// (`CLONE_NEW…`), and in the control group whose folder in the unified hierarchy is `group`.
    /// The parent hears SIGCHLD when it ends.
    pub fn fork(
        &self,
        namespaces: libc::c_int,
        group: Option<BorrowedFd<'_>>,
    ) -> io::Result<Forked> {
        let mut pidfd: libc::c_int = -1;
        // SAFETY: all zero is a valid `clone_args`: no flags, no stack, nothing written.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = namespaces as u64 | libc::CLONE_PIDFD as u64;
        args.pidfd = ptr::from_mut(&mut pidfd) as u64;
        args.exit_signal = libc::SIGCHLD as u64;
        if let Some(group) = group {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = u64::try_from(group.as_raw_fd()).map_err(io::Error::other)?;
        }
        let size = size_of::<libc::clone_args>();
        // SAFETY: `args` is alive and has that size, `pidfd` is alive and receives a descriptor.
        // Without CLONE_VM the child has memory of its own, and as there is one thread, which is
        // here, no lock is held in the copy. The C library caches neither process nor thread id.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
        match pid {
            0 => Ok(Forked::Child),
            1.. => {
                // SAFETY: the kernel filled in a new descriptor, which nobody else owns.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                let pid = pid.ok_or_else(|| io::Error::other("clone3 returned no process id"))?;
                Ok(Forked::Parent { pid, pidfd })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Leaves the namespaces of the kinds in `namespaces` for new ones. For the child of
/// [`SingleThreaded::fork`], before it has threads; not for `CLONE_FILES` and its like.
pub fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    const NAMESPACES: libc::c_int = CLONE_NEWCGROUP
        | CLONE_NEWIPC
        | CLONE_NEWNET
        | CLONE_NEWNS
        | CLONE_NEWPID
        | CLONE_NEWUSER
        | CLONE_NEWUTS;
    // SAFETY: takes flags and touches no memory; none of them changes what memory or descriptors
    // this process shares.
    if unsafe { libc::unshare(namespaces & NAMESPACES) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Ends this process at once, running nothing on the way: neither destructors nor what the C
/// library wants done at exit, which are the parent's business.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends this process only.
    unsafe { libc::_exit(code) }
}

/// Lets the kernel reap children of this process by itself. Their pidfds still report their end.
pub fn reap_automatically() -> io::Result<()> {
    // SAFETY: no handler is installed; SIG_IGN is a value, not a function that could run.
    if unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Ignores or heeds SIGINT, so that a Ctrl-C meant for the program in front does not end this one.
pub fn ignore_interrupts() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTSTP] {
        // SAFETY: as above.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Puts every signal back to its default, and blocks none: what a program expects that is about to
/// be executed.
pub fn default_signals() {
    // The kernel's `sigaction`: handler, flags, restorer and mask; all zero is SIG_DFL.
    let default = [0u64; 4];
    for signal in 1..=64 {
        let old = ptr::null_mut::<libc::c_void>();
        // SAFETY: reads `default`, writes nothing, and changes this process's own table.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, 8usize) };
    }
    let none = 0u64;
    let old = ptr::null_mut::<u64>();
    // SAFETY: reads the eight bytes of `none`, writes nothing.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::from_ref(&none),
            old,
            8usize,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_refused() {
        // The test harness runs this in a thread beside its own.
        let refused = SingleThreaded::check().unwrap_err();
        assert!(refused.to_string().contains("threads"), "{refused}");
    }
}
