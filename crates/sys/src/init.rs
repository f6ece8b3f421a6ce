//! What the first process of a box needs beyond what safe libraries offer.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Takes over a descriptor that the starter of this process left open under a number agreed upon,
/// and keeps it from being inherited further. `None` when there is none.
///
/// Must be called before this process opens anything, and once for each number: the number is the
/// only proof of ownership there is.
#[must_use]
pub fn take_inherited(number: c_int) -> Option<OwnedFd> {
    assert!(number > 2, "standard descriptors belong to the standard library");
    // SAFETY: only asks whether the number is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and by the contract above nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

/// Sends a signal to every process this one may signal, but itself; for process 1 of a namespace
/// that is every other process in it. Succeeds when there is none.
pub fn signal_all(signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers and touches no memory.
    if unsafe { libc::kill(-1, signal) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}

/// Adds randomness to the kernel's pool and credits it. Needs CAP_SYS_ADMIN in the first user
/// namespace; without it, writing to the device mixes it in uncredited.
pub fn credit_entropy(random: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    const LIMIT: usize = 512;
    /// `_IOW('R', 3, int[2])` of `linux/random.h`.
    const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
    // `struct rand_pool_info`: bits, bytes, then the bytes, as 32-bit words.
    #[repr(C)]
    struct PoolInfo {
        bits: c_int,
        size: c_int,
        bytes: [u8; LIMIT],
    }
    for piece in bytes.chunks(LIMIT) {
        let mut info = PoolInfo {
            bits: piece.len() as c_int * 8,
            size: piece.len() as c_int,
            bytes: [0; LIMIT],
        };
        info.bytes[..piece.len()].copy_from_slice(piece);
        // SAFETY: the request reads a `rand_pool_info` of the size it states, which `info` is.
        let result =
            unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY as _, &raw const info) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Lets all threads allocate from one arena, since an arena for each costs more than the waiting, and
/// lets that arena keep some free memory: otherwise every buffer of a bulk transfer is mapped, faulted
/// in page by page, and unmapped again. [`trim_memory`] gives it back. With musl there is another
/// allocator, in which it is so anyway.
pub fn use_one_arena() {
    /// From this size on an allocation gets a mapping of its own, in bytes.
    #[cfg(target_env = "gnu")]
    const MAPPED: c_int = 1024 * 1024;
    /// As much may be free at the arena's end, in bytes.
    #[cfg(target_env = "gnu")]
    const KEPT: c_int = 4 * 1024 * 1024;
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, MAPPED), (libc::M_TRIM_THRESHOLD, KEPT)]
    {
        // SAFETY: takes numbers; must precede the second thread to have its full effect.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives memory that the allocator holds and nobody uses back to the kernel.
pub fn trim_memory() {
    // SAFETY: takes a number; the allocator locks itself.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    };
    #[cfg(target_env = "musl")]
    crate::alloc::trim();
}
