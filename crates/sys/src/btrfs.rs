//! Subvolumes, snapshots and quota groups of btrfs, which are asked for by `ioctl` alone
//! (`linux/btrfs.h`). Where a call needs a folder, any open folder of the filesystem will do.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::io::Errno;

/// `f_type` of `statfs(2)` on btrfs.
const MAGIC: u64 = 0x9123_683e;
/// The inode number of every subvolume's own folder.
pub const SUBVOLUME_INODE: u64 = 256;

const READ: u32 = 2;
const WRITE: u32 = 1;

const SYNC: libc::Ioctl = request(0, 8, 0);
const SNAP_DESTROY: libc::Ioctl = request(WRITE, 15, size_of::<ByName>());
const INO_LOOKUP: libc::Ioctl = request(READ | WRITE, 18, size_of::<Lookup>());
const SNAP_CREATE_V2: libc::Ioctl = request(WRITE, 23, size_of::<Create>());
const SUBVOL_CREATE_V2: libc::Ioctl = request(WRITE, 24, size_of::<Create>());
const FS_INFO: libc::Ioctl = request(READ, 31, size_of::<Info>());
const QUOTA_CTL: libc::Ioctl = request(READ | WRITE, 40, size_of::<QuotaControl>());
const QGROUP_CREATE: libc::Ioctl = request(WRITE, 42, size_of::<QgroupCreate>());
const QGROUP_LIMIT: libc::Ioctl = request(READ, 43, size_of::<QgroupLimit>());

const QUOTA_ENABLE: u64 = 1;
const QUOTA_ENABLE_SIMPLE: u64 = 4;
const INHERIT_QGROUPS: u64 = 1 << 2;
const LIMIT_REFERENCED: u64 = 1;

const NAME_V1: usize = 4088;
const NAME_V2: usize = 4040;

/// The number of a btrfs request: direction, size, type and function, as `_IOC` packs them.
#[expect(clippy::cast_possible_truncation, reason = "the structures are 4096 bytes at most")]
const fn request(direction: u32, function: u32, size: usize) -> libc::Ioctl {
    (direction << 30 | (size as u32) << 16 | 0x94 << 8 | function) as libc::Ioctl
}

#[repr(C)]
struct ByName {
    fd: i64,
    name: [u8; NAME_V1],
}

#[repr(C)]
struct Create {
    fd: i64,
    transaction: u64,
    flags: u64,
    inherit_size: u64,
    inherit: *const Inherit,
    unused: [u64; 2],
    name: [u8; NAME_V2],
}

#[repr(C)]
struct Inherit {
    flags: u64,
    groups: u64,
    referenced_copies: u64,
    exclusive_copies: u64,
    limit: Limit,
    group: u64,
}

#[repr(C)]
#[derive(Default)]
struct Limit {
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved_referenced: u64,
    reserved_exclusive: u64,
}

#[repr(C)]
struct Lookup {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

#[repr(C)]
struct Info {
    max_id: u64,
    devices: u64,
    id: [u8; 16],
    rest: [u8; 992],
}

#[repr(C)]
struct QuotaControl {
    command: u64,
    status: u64,
}

#[repr(C)]
struct QgroupCreate {
    create: u64,
    id: u64,
}

#[repr(C)]
struct QgroupLimit {
    id: u64,
    limit: Limit,
}

/// A quota group: level 0 is made by the kernel for every subvolume, level 1 is made by
/// [`create_group`] and sums up its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// 0 for a subvolume's own.
    pub level: u16,
    /// The subvolume's id on level 0; free to choose above. 48 bits.
    pub number: u64,
}

impl Group {
    const fn id(self) -> u64 {
        (self.level as u64) << 48 | self.number
    }
}

/// Makes one request.
///
/// # Safety
///
/// `argument` must be the structure that the kernel expects for `request`.
unsafe fn call<T>(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: &mut T) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the caller vouches for the structure, which is live and
    // borrowed for the whole call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `name` as the kernel wants it, ended by a zero byte. A name is one path component.
fn name_field<const N: usize>(name: &OsStr) -> io::Result<[u8; N]> {
    let bytes = name.as_bytes();
    if bytes.len() > 255 || bytes.contains(&0) || bytes.contains(&b'/') || bytes.is_empty() {
        return Err(Errno::INVAL.into());
    }
    let mut field = [0; N];
    field[..bytes.len()].copy_from_slice(bytes);
    Ok(field)
}

/// Writes the filesystem of `folder` to disk and has the kernel begin at once to free subvolumes that
/// were removed, which it else gets to within half a minute. Does not wait for that.
pub fn sync_and_clean(folder: impl AsFd) -> io::Result<()> {
    // SAFETY: takes no argument.
    let result = unsafe { libc::ioctl(folder.as_fd().as_raw_fd(), SYNC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the filesystem of an open file or folder is btrfs.
pub fn is_btrfs(file: impl AsFd) -> io::Result<bool> {
    let kind = rustix::fs::fstatfs(file)?.f_type;
    Ok(u64::try_from(kind).is_ok_and(|kind| kind & 0xffff_ffff == MAGIC))
}

/// Makes an empty subvolume `name` in `folder`, a member of `group` when one is given. Nobody else
/// may enter it before its mode and owner are set: mode 0755 less the umask, owned by the caller.
pub fn create_subvolume(folder: impl AsFd, name: &OsStr, group: Option<Group>) -> io::Result<()> {
    create(folder.as_fd(), name, SUBVOL_CREATE_V2, 0, group)
}

/// Makes `name` in `folder` a writable snapshot of `source`, which is any folder of a subvolume on
/// the same filesystem. On disk when it returns: the kernel commits the transaction.
pub fn snapshot(
    source: impl AsFd,
    folder: impl AsFd,
    name: &OsStr,
    group: Option<Group>,
) -> io::Result<()> {
    let source = i64::from(source.as_fd().as_raw_fd());
    create(folder.as_fd(), name, SNAP_CREATE_V2, source, group)
}

fn create(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    request: libc::Ioctl,
    source: i64,
    group: Option<Group>,
) -> io::Result<()> {
    let inherit = group.map(|group| Inherit {
        flags: 0,
        groups: 1,
        referenced_copies: 0,
        exclusive_copies: 0,
        limit: Limit::default(),
        group: group.id(),
    });
    let mut arguments = Create {
        fd: source,
        transaction: 0,
        flags: if inherit.is_some() { INHERIT_QGROUPS } else { 0 },
        inherit_size: if inherit.is_some() { size_of::<Inherit>() as u64 } else { 0 },
        inherit: inherit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
        unused: [0; 2],
        name: name_field(name)?,
    };
    // SAFETY: `btrfs_ioctl_vol_args_v2`, which both requests take; the inheritance it points to
    // outlives the call.
    unsafe { call(folder, request, &mut arguments) }
}

/// Removes the subvolume `name` of `folder` and all that is in it; its space is freed in the
/// background. `ENOTEMPTY` when it holds subvolumes.
pub fn destroy_subvolume(folder: impl AsFd, name: &OsStr) -> io::Result<()> {
    let mut arguments = ByName { fd: 0, name: name_field(name)? };
    // SAFETY: `btrfs_ioctl_vol_args`.
    unsafe { call(folder.as_fd(), SNAP_DESTROY, &mut arguments) }
}

/// The id of the subvolume that an open file or folder belongs to.
pub fn subvolume_id(file: impl AsFd) -> io::Result<u64> {
    let mut arguments = Lookup { tree: 0, object: SUBVOLUME_INODE, name: [0; 4080] };
    // SAFETY: `btrfs_ioctl_ino_lookup_args`.
    unsafe { call(file.as_fd(), INO_LOOKUP, &mut arguments) }?;
    Ok(arguments.tree)
}

/// The filesystem's id, as in `/sys/fs/btrfs/ID`: 8-4-4-4-12 hex digits.
pub fn filesystem_id(folder: impl AsFd) -> io::Result<String> {
    let mut info = Info { max_id: 0, devices: 0, id: [0; 16], rest: [0; 992] };
    // SAFETY: `btrfs_ioctl_fs_info_args`.
    unsafe { call(folder.as_fd(), FS_INFO, &mut info) }?;
    let hex: String = info.id.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

/// Turns quotas on. With `simple` (Linux 6.7) an extent is charged for ever to the subvolume that
/// wrote it, which costs next to nothing; without it, to every subvolume that refers to it, for
/// which the kernel has to look those up.
pub fn enable_quota(folder: impl AsFd, simple: bool) -> io::Result<()> {
    let command = if simple { QUOTA_ENABLE_SIMPLE } else { QUOTA_ENABLE };
    let mut arguments = QuotaControl { command, status: 0 };
    // SAFETY: `btrfs_ioctl_quota_ctl_args`.
    unsafe { call(folder.as_fd(), QUOTA_CTL, &mut arguments) }
}

/// Makes a quota group. `EEXIST` when there is one.
pub fn create_group(folder: impl AsFd, group: Group) -> io::Result<()> {
    let mut arguments = QgroupCreate { create: 1, id: group.id() };
    // SAFETY: `btrfs_ioctl_qgroup_create_args`.
    unsafe { call(folder.as_fd(), QGROUP_CREATE, &mut arguments) }
}

/// Removes a quota group. `EBUSY` while it has members or charges; `ENOENT` when there is none.
pub fn remove_group(folder: impl AsFd, group: Group) -> io::Result<()> {
    let mut arguments = QgroupCreate { create: 0, id: group.id() };
    // SAFETY: `btrfs_ioctl_qgroup_create_args`.
    unsafe { call(folder.as_fd(), QGROUP_CREATE, &mut arguments) }
}

/// Lets a group refer to at most `bytes` bytes, metadata included. Writing past it is `EDQUOT`.
pub fn limit_group(folder: impl AsFd, group: Group, bytes: u64) -> io::Result<()> {
    let limit = Limit { flags: LIMIT_REFERENCED, max_referenced: bytes, ..Limit::default() };
    let mut arguments = QgroupLimit { id: group.id(), limit };
    // SAFETY: `btrfs_ioctl_qgroup_limit_args`.
    unsafe { call(folder.as_fd(), QGROUP_LIMIT, &mut arguments) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_kernels_header() {
        assert_eq!(SNAP_DESTROY, 0x5000_940f);
        assert_eq!(INO_LOOKUP, 0xd000_9412);
        assert_eq!(SNAP_CREATE_V2, 0x5000_9417);
        assert_eq!(SUBVOL_CREATE_V2, 0x5000_9418);
        assert_eq!(FS_INFO, 0x8400_941f);
        assert_eq!(QUOTA_CTL, 0xc010_9428);
        assert_eq!(QGROUP_CREATE, 0x4010_942a);
        assert_eq!(QGROUP_LIMIT, 0x8030_942b);
    }

    #[test]
    fn a_name_is_one_component() {
        for name in ["", "a/b", "a\0b", &"n".repeat(256)] {
            assert!(name_field::<NAME_V1>(OsStr::new(name)).is_err(), "{name:?}");
        }
        assert!(name_field::<NAME_V1>(OsStr::new("layer")).is_ok());
    }
}
