//! Loop devices: a file as a block device (`loop(4)`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use rustix::io::Errno;

const GET_FREE: libc::Ioctl = 0x4c82;
const CONFIGURE: libc::Ioctl = 0x4c0a;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;
/// How often another process may take the free device before we do.
const ATTEMPTS: usize = 64;

#[repr(C)]
struct Status {
    numbers: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [u8; 160],
    init: [u64; 2],
}

#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    status: Status,
    reserved: [u64; 8],
}

/// A loop device. The kernel frees it once it is neither open nor mounted.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// Attaches `file`, opened for reading and writing, to a free loop device; past the page cache
    /// of the filesystem that it is on where that can be had. Needs CAP_SYS_ADMIN.
    pub fn attach(file: &File) -> io::Result<Self> {
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        for _ in 0..ATTEMPTS {
            // SAFETY: takes no argument.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new().read(true).write(true).open(&path)?;
            match configure(&device, file, AUTOCLEAR | DIRECT_IO) {
                Ok(()) => return Ok(Self { path, _open: device }),
                Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Its device file.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

fn configure(device: &File, file: &File, flags: u32) -> io::Result<()> {
    let fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let status = Status {
        numbers: [0; 5],
        number: 0,
        encryption: [0; 2],
        flags,
        names: [0; 160],
        init: [0; 2],
    };
    let config = Config { fd, block_size: 0, status, reserved: [0; 8] };
    // SAFETY: `loop_config`, live for the whole call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_of_the_kernels_header() {
        assert_eq!(size_of::<Status>(), 232);
        assert_eq!(size_of::<Config>(), 304);
    }
}
