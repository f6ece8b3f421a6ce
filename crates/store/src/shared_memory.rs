//! The memory that processes on one database share, where the filesystem copies on write.
//!
//! SQLite maps the file `…-shm` and writes to it as to memory. On btrfs each write takes new space;
//! where none is left the kernel has nothing to answer with but SIGBUS, which ends the program. A
//! file that is not copied on write is written in place, and needs no more than it has.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{IFlags, ioctl_setflags};

/// Makes the file before SQLite does, since only an empty one can be told. Where that cannot be done
/// SQLite makes it as ever; whatever else is the matter with the folder, SQLite tells.
pub(crate) fn make(database: &Path) {
    let mut name = database.as_os_str().to_owned();
    name.push("-shm");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(name);
    if let Ok(file) = file {
        // Other filesystems do not know the flag, and do not need it.
        let _ = ioctl_setflags(&file, IFlags::NOCOW);
    }
}
