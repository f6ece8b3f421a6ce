//! Becoming another program.

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// Executes the file behind `program`, which may have been opened with `O_PATH` only and may be
/// unreadable. Returns only when it failed. Every descriptor that is not close-on-exec is
/// inherited.
pub fn exec_fd(program: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| {
        let mut pointers: Vec<*const c_char> = list.iter().map(|s| s.as_ptr()).collect();
        pointers.push(ptr::null());
        pointers
    };
    let (argv, env) = (pointers(argv), pointers(env));
    let empty: &CStr = c"";
    // SAFETY: a string and two lists that end in null, all alive during the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            empty.as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Leaves exactly `descriptors` to the program that is executed next, under the numbers from 0 on,
/// and marks everything else close-on-exec. `None` leaves a number closed.
///
/// For a process that is about to execute or to end: it takes the numbers away from whoever holds
/// them, which is why it takes ownership of what it hands on and must come last.
pub fn hand_on(descriptors: Vec<Option<OwnedFd>>) -> io::Result<()> {
    let count = c_int::try_from(descriptors.len()).map_err(io::Error::other)?;
    close_range(0, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)?;
    // Out of the way of the targets first.
    let mut sources = Vec::with_capacity(descriptors.len());
    for fd in &descriptors {
        sources.push(match fd {
            Some(fd) => Some(move_above(fd, count)?),
            None => None,
        });
    }
    // The targets may be among the numbers that `descriptors` owns: what is closed here must not be
    // closed again. The process executes or ends next, either of which closes the rest.
    std::mem::forget(descriptors);
    for (target, source) in (0..count).zip(sources) {
        match source {
            // SAFETY: replaces a number of this process's own table, whose owner was forgotten.
            Some(source) => checked(unsafe { libc::dup2(source, target) })?,
            // SAFETY: closes a number of this process's own table; that it may be closed already
            // is why the result does not matter.
            None => unsafe { libc::close(target) },
        };
    }
    Ok(())
}

/// Closes every descriptor from number `lowest` on, whoever holds it.
///
/// For a copy of a process that goes on as something else: what it has on its stack from before must
/// never be used again, nor dropped.
pub fn close_from(lowest: c_int) -> io::Result<()> {
    let lowest = u32::try_from(lowest).map_err(io::Error::other)?;
    // By the contract above nobody uses or closes them afterwards.
    close_range(lowest, c_uint::MAX, 0)
}

/// Closes every descriptor but the standard ones and `kept`, whoever holds them, as
/// [`close_from`] does.
pub fn keep_only(kept: OwnedFd) -> io::Result<OwnedFd> {
    let number = u32::try_from(kept.as_raw_fd()).map_err(io::Error::other)?;
    if number > FIRST {
        close_range(FIRST, number - 1, 0)?;
    }
    close_range(FIRST.max(number + 1), c_uint::MAX, 0)?;
    Ok(kept)
}

/// The first number that is no standard one.
const FIRST: u32 = 3;

/// `close_range(2)`, ends included. Not every C library has it.
fn close_range(lowest: u32, highest: u32, flags: c_uint) -> io::Result<()> {
    // SAFETY: takes numbers, and closes or marks descriptors of this process's own table.
    let result = unsafe { libc::syscall(libc::SYS_close_range, lowest, highest, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn move_above(fd: &OwnedFd, lowest: c_int) -> io::Result<c_int> {
    // SAFETY: duplicates a descriptor of this process's own table.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
