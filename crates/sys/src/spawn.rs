//! Starting a program fast from a process with threads.
//!
//! The child borrows the parent's memory until it executes (`CLONE_VM | CLONE_VFORK`), so nothing
//! is copied and an error reaches the parent as a value. That is also why the child's half is
//! written in raw system calls: it must not allocate, lock, or call what keeps state in the C
//! library (its `setuid`, for one, would signal the parent's threads).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::Pid;

/// Bytes of stack for the child's half. It needs a few hundred; debug builds a few thousand.
const STACK: usize = 64 * 1024;
/// The highest signal number.
const LAST_SIGNAL: c_int = 64;

/// What to start, and as whom. The child gets a session and a process group of its own, default
/// signal handling, a umask of 022, and no descriptor but the three given.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Paths of the program, tried in order as a search in `PATH` does.
    pub programs: &'a [CString],
    /// Its arguments, with its name first.
    pub argv: &'a [CString],
    /// Its environment, as `NAME=value`.
    pub env: &'a [CString],
    /// Where it starts; entered as the user it runs as.
    pub workdir: Option<&'a CStr>,
    /// Its input, output and error output.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Whom it runs as; the parent's own when not given.
    pub credentials: Option<Credentials<'a>>,
    /// Makes its input its controlling terminal.
    pub terminal: bool,
}

/// Whom a program runs as.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// User, by number.
    pub uid: u32,
    /// Group, by number.
    pub gid: u32,
    /// Supplementary groups; `None` keeps those of the parent.
    pub groups: Option<&'a [u32]>,
}

/// A started program.
#[derive(Debug)]
pub struct Child {
    /// Its process id, which is also its session and process group. Reap it, or it stays.
    pub pid: Pid,
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
}

/// Which step of the start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    /// Making the process.
    Clone = 1,
    /// Session, descriptors and terminal.
    Setup,
    /// Becoming the user.
    Credentials,
    /// Entering the directory.
    Workdir,
    /// Executing the program.
    Exec,
}

/// A program was not started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a program, step {step:?}")]
pub struct SpawnError {
    /// How far it came.
    pub step: Step,
    /// Why it went no further.
    #[source]
    pub source: io::Error,
}

/// What the child's half works on. It lives in the parent, which waits meanwhile.
struct Plan<'a> {
    spawn: &'a Spawn<'a>,
    programs: &'a [*const c_char],
    argv: *const *const c_char,
    env: *const *const c_char,
    step: Step,
    errno: c_int,
}

/// Starts a program and returns once it executes.
pub fn spawn(spawn: &Spawn<'_>) -> Result<Child, SpawnError> {
    let (pid, pidfd) = start(spawn, true)?;
    let missing = || io::Error::other("clone returned no descriptor");
    let pidfd = pidfd.ok_or_else(missing);
    Ok(Child { pid, pidfd: pidfd.map_err(|source| SpawnError { step: Step::Clone, source })? })
}

/// The same for who reaps every child and needs nothing else to know of its end. Not all kernels
/// that a program may run on have descriptors of processes (gVisor has none).
pub fn spawn_to_reap(spawn: &Spawn<'_>) -> Result<Pid, SpawnError> {
    start(spawn, false).map(|(pid, _)| pid)
}

fn start(spawn: &Spawn<'_>, followed: bool) -> Result<(Pid, Option<OwnedFd>), SpawnError> {
    let pointers = |list: &[CString]| {
        let mut pointers: Vec<_> = list.iter().map(|s| s.as_ptr()).collect();
        pointers.push(ptr::null());
        pointers
    };
    let (argv, env) = (pointers(spawn.argv), pointers(spawn.env));
    let programs: Vec<_> = spawn.programs.iter().map(|s| s.as_ptr()).collect();
    let mut plan = Plan {
        spawn,
        programs: &programs,
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        step: Step::Clone,
        errno: 0,
    };
    let child = with_signals_blocked(|| clone_child(&mut plan, followed))
        .map_err(|source| SpawnError { step: Step::Clone, source })?;
    if plan.errno == 0 {
        return Ok(child);
    }
    reap(child.0);
    Err(SpawnError { step: plan.step, source: io::Error::from_raw_os_error(plan.errno) })
}

/// A handler of the parent's must not run in the child, which shares its memory.
fn with_signals_blocked<T>(run: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: `all` is a signal set to be filled.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` was filled, `before` receives the old set; neither outlives the call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let result = run();
    // SAFETY: `before` was filled by the call above, which cannot fail with these arguments.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

fn clone_child(plan: &mut Plan<'_>, followed: bool) -> io::Result<(Pid, Option<OwnedFd>)> {
    let mut stack: Vec<MaybeUninit<u8>> = Vec::with_capacity(STACK);
    let top = stack.as_mut_ptr().wrapping_add(STACK - STACK % 16);
    let top = top.wrapping_sub(top as usize % 16).cast::<c_void>();
    let mut pidfd: c_int = -1;
    let follow = if followed { libc::CLONE_PIDFD } else { 0 };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | follow | libc::SIGCHLD;
    let plan = ptr::from_mut(plan).cast::<c_void>();
    // SAFETY: the stack and the plan outlive the child's use of them, because CLONE_VFORK returns
    // only once the child has executed or ended; all signals are blocked meanwhile.
    let pid = unsafe { libc::clone(child_half, top, flags, plan, &raw mut pidfd) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel filled in a new descriptor, if it was to, which nobody else owns.
    let pidfd = followed.then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("clone returned no process id"))?;
    Ok((pid, pidfd))
}

fn reap(child: Pid) {
    use rustix::process::{WaitOptions, waitpid};
    while let Err(rustix::io::Errno::INTR) = waitpid(Some(child), WaitOptions::empty()) {}
}

/// Runs in the child, on its own stack, in the parent's memory.
extern "C" fn child_half(plan: *mut c_void) -> c_int {
    // SAFETY: `plan` is the parent's `Plan`, which nobody else touches while the parent waits.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    if let Err((step, errno)) = run_steps(plan) {
        (plan.step, plan.errno) = (step, errno);
    }
    // SAFETY: ends this process only, running nothing of the parent's on the way.
    unsafe { libc::_exit(127) }
}

fn run_steps(plan: &Plan<'_>) -> Result<(), (Step, c_int)> {
    set_up(plan).map_err(|errno| (Step::Setup, errno))?;
    become_user(plan).map_err(|errno| (Step::Credentials, errno))?;
    enter_workdir(plan).map_err(|errno| (Step::Workdir, errno))?;
    execute(plan).map_err(|errno| (Step::Exec, errno))
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn checked(result: libc::c_long) -> Result<c_int, c_int> {
    if result < 0 { Err(errno()) } else { Ok(result as c_int) }
}

fn set_up(plan: &Plan<'_>) -> Result<(), c_int> {
    reset_signals();
    // SAFETY: takes no arguments and touches no memory.
    checked(unsafe { libc::syscall(libc::SYS_setsid) })?;
    let mut sources = [0; 3];
    for (source, fd) in sources.iter_mut().zip(&plan.spawn.stdio) {
        // Out of the way of the three targets first.
        // SAFETY: duplicates a descriptor of this process's own table.
        let copy =
            unsafe { libc::syscall(libc::SYS_fcntl, fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) };
        *source = checked(copy)?;
    }
    for (target, source) in sources.into_iter().enumerate() {
        // SAFETY: as above.
        checked(unsafe { libc::syscall(libc::SYS_dup3, source, target, 0) })?;
    }
    // Everything else was opened close-on-exec; a kernel without this call loses nothing by it.
    // SAFETY: closes descriptors of this process's own table.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if plan.spawn.terminal {
        // SAFETY: the request takes a number.
        checked(unsafe { libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSCTTY, 0) })?;
    }
    // SAFETY: takes a number and touches no memory.
    unsafe { libc::syscall(libc::SYS_umask, 0o022) };
    Ok(())
}

/// Ignored signals would stay ignored in the program, and Rust ignores SIGPIPE. Raw, because the C
/// library leaves out the signals it uses itself.
fn reset_signals() {
    // The kernel's `sigaction`: handler, flags, restorer and mask; all zero is SIG_DFL.
    let default = [0u64; 4];
    for signal in 1..=LAST_SIGNAL {
        let old = ptr::null_mut::<c_void>();
        // SAFETY: reads `default`, writes nothing, and changes this process's own table.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, 8usize) };
    }
}

fn become_user(plan: &Plan<'_>) -> Result<(), c_int> {
    let Some(Credentials { uid, gid, groups }) = plan.spawn.credentials else { return Ok(()) };
    if let Some(groups) = groups {
        // SAFETY: pointer and length are those of a live slice.
        checked(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    }
    // SAFETY: takes numbers. Raw, because the C library's would change every thread.
    checked(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: as above.
    checked(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

fn enter_workdir(plan: &Plan<'_>) -> Result<(), c_int> {
    let Some(workdir) = plan.spawn.workdir else { return Ok(()) };
    // SAFETY: a live string that ends in zero.
    checked(unsafe { libc::syscall(libc::SYS_chdir, workdir.as_ptr()) }).map(drop)
}

/// Returns only when no candidate could be executed, with the most telling error.
fn execute(plan: &Plan<'_>) -> Result<(), c_int> {
    let mut none: MaybeUninit<libc::sigset_t> = MaybeUninit::uninit();
    // SAFETY: `none` is a signal set to be filled.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: `none` was filled. Handlers are all default by now.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
    let mut refusal = libc::ENOENT;
    for program in plan.programs {
        // SAFETY: a string and two lists that end in null, all alive in the waiting parent.
        unsafe { libc::syscall(libc::SYS_execve, *program, plan.argv, plan.env) };
        match errno() {
            libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE | libc::ETIMEDOUT => {}
            libc::EACCES => refusal = libc::EACCES,
            other => return Err(other),
        }
    }
    Err(refusal)
}

#[cfg(test)]
mod tests;
