//! The one call of the mount API that `rustix` lacks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What may be set on a mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// No writing through this mount.
    pub read_only: bool,
    /// Set-user-id bits and file capabilities count for nothing.
    pub no_suid: bool,
    /// Device files cannot be opened.
    pub no_dev: bool,
    /// Nothing can be executed.
    pub no_exec: bool,
    /// The mounts below it too.
    pub recursive: bool,
    /// Owners on disk are ids *inside* this user namespace. Only for a mount that is attached
    /// nowhere yet.
    pub id_map: Option<BorrowedFd<'a>>,
    /// Neither sends mount events nor receives them.
    pub private: bool,
}

/// Sets attributes of the mount that `mount` refers to (`mount_setattr(2)`, Linux 5.12). Those that
/// are not asked for stay as they are.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: Attributes<'_>) -> io::Result<()> {
    const CHOICES: [u64; 4] = [
        libc::MOUNT_ATTR_RDONLY,
        libc::MOUNT_ATTR_NOSUID,
        libc::MOUNT_ATTR_NODEV,
        libc::MOUNT_ATTR_NOEXEC,
    ];
    let Attributes { read_only, no_suid, no_dev, no_exec, .. } = attributes;
    let asked = [read_only, no_suid, no_dev, no_exec];
    let mut set: u64 = CHOICES.iter().zip(asked).filter(|(_, on)| *on).map(|(bit, _)| bit).sum();
    let mut userns_fd = 0;
    if let Some(userns) = attributes.id_map {
        set |= libc::MOUNT_ATTR_IDMAP;
        userns_fd = u64::try_from(userns.as_raw_fd()).map_err(io::Error::other)?;
    }
    let propagation = if attributes.private { libc::MS_PRIVATE } else { 0 };
    let arguments = libc::mount_attr { attr_set: set, attr_clr: 0, propagation, userns_fd };
    let depth = if attributes.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: an empty path, and a structure of the size that is given; both live.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | depth,
            &raw const arguments,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
