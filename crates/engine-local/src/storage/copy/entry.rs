//! One entry of a folder: its kind, its bytes, its attributes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chmodat, chownat, copy_file_range, fchmod, fchown, fgetxattr, flistxattr, flistxattr_query,
    fsetxattr, ftruncate, futimens, ioctl_ficlone, linkat, mkdirat, mknodat, openat, readlinkat,
    seek, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::work::{Folder, Work};
use super::{permissions, walk};
use crate::storage::error::StorageError;

/// Extended attributes that travel: whole names, or beginnings that end in a dot.
const ATTRIBUTES: [&[u8]; 4] =
    [b"user.", b"trusted.", b"system.posix_acl_", b"security.capability"];
/// The longest list of names, and the longest value, that Linux allows.
const ATTRIBUTE_SPACE: usize = 64 * 1024;
/// Nobody may look into what is not finished.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Copies the entry `name` of `folder`. `true` for a folder, which is made and not filled.
pub(super) fn copy(work: &Work, folder: &Folder, name: &OsStr) -> Result<bool, StorageError> {
    let path = folder.path.join(name);
    let failed = work.failed(&path);
    let stat =
        statat(&folder.source, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(e.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(&folder.target, name, Mode::RWXU).map_err(|e| failed(e.into()))?;
            return Ok(true);
        }
        FileType::Socket => return Ok(false),
        FileType::RegularFile | FileType::Symlink | FileType::Fifo => {}
        FileType::CharacterDevice if stat.st_rdev == 0 => {}
        _ => return Err(StorageError::Device { path: work.path(&path) }),
    }
    let made = make(work, folder, name, &path, &stat).map_err(&failed)?;
    match made {
        Made::Linked => {}
        Made::Whole => dress_by_name(folder, name, &stat).map_err(failed)?,
        Made::Empty(target) => fill(work, folder, name, &target, &stat).map_err(failed)?,
    }
    Ok(false)
}

/// What is there of an entry once its name is.
enum Made {
    /// All: it is another name of what was made before.
    Linked,
    /// All but owner, mode and times.
    Whole,
    /// A file without bytes.
    Empty(OwnedFd),
}

/// Makes the entry, or links it to the first copy of what it is another name of.
fn make(work: &Work, folder: &Folder, name: &OsStr, path: &Path, stat: &Stat) -> io::Result<Made> {
    if stat.st_nlink == 1 {
        return make_new(folder, name, stat);
    }
    // Held until the first copy is there, which others can be linked to.
    let mut links = work.links.lock();
    let Some(first) = links.get(&(stat.st_dev, stat.st_ino)) else {
        let made = make_new(folder, name, stat)?;
        links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        return Ok(made);
    };
    let (Some(parent), Some(first)) = (first.parent(), first.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let parent = walk::open_folder(&work.target_root, parent)?;
    linkat(parent, first, &folder.target, name, AtFlags::empty())?;
    Ok(Made::Linked)
}

fn make_new(folder: &Folder, name: &OsStr, stat: &Stat) -> io::Result<Made> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => create(folder, name).map(Made::Empty),
        FileType::Symlink => {
            let target = readlinkat(&folder.source, name, Vec::new())?;
            symlinkat(target, &folder.target, name)?;
            Ok(Made::Whole)
        }
        // A fifo, or a whiteout: the character device 0/0 by which overlayfs marks what is deleted.
        kind => {
            mknodat(&folder.target, name, kind, PRIVATE, stat.st_rdev)?;
            Ok(Made::Whole)
        }
    }
}

/// Gives the file `target` the bytes and the attributes of its source.
fn fill(
    work: &Work,
    folder: &Folder,
    name: &OsStr,
    target: &OwnedFd,
    stat: &Stat,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(&folder.source, name, flags, Mode::empty())?;
    content(work, &source, target, stat)?;
    dress(&source, target, stat)
}

fn create(folder: &Folder, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(&folder.target, name, flags, PRIVATE)?)
}

fn content(work: &Work, source: &OwnedFd, target: &OwnedFd, stat: &Stat) -> io::Result<()> {
    let size = u64::try_from(stat.st_size).map_err(io::Error::other)?;
    if size == 0 {
        return Ok(());
    }
    if work.reflink.load(Ordering::Relaxed) {
        match ioctl_ficlone(target, source) {
            Ok(()) => return Ok(()),
            Err(Errno::NOSPC | Errno::DQUOT) => return Err(Errno::NOSPC.into()),
            // Whatever the reason, bytes can still be copied.
            Err(_) => work.reflink.store(false, Ordering::Relaxed),
        }
    }
    if u64::try_from(stat.st_blocks).map_err(io::Error::other)?.saturating_mul(512) >= size {
        span(source, target, 0, size)?;
    } else {
        data_only(source, target, size)?;
    }
    Ok(ftruncate(target, size)?)
}

/// Copies what is not a hole of the first `size` bytes: a file that grows has no end otherwise.
fn data_only(source: &OwnedFd, target: &OwnedFd, size: u64) -> io::Result<()> {
    let mut end = 0;
    while end < size {
        let found = seek(source, SeekFrom::Data(end))
            .and_then(|start| Ok((start, seek(source, SeekFrom::Hole(start))?)));
        let (start, hole) = match found {
            Ok((start, hole)) if start < size => (start, hole.min(size)),
            // No data up to where it ended, or it became shorter.
            Ok(_) | Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        span(source, target, start, hole)?;
        end = hole;
    }
    Ok(())
}

/// Copies the bytes from `start` to `end`, or to the end of a file that became shorter.
fn span(source: &OwnedFd, target: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let left = usize::try_from(end - from).unwrap_or(usize::MAX);
        match copy_file_range(source, Some(&mut from), target, Some(&mut to), left) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return by_hand(source, target, from, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The same where the kernel cannot, such as between filesystems of two kinds.
fn by_hand(source: &OwnedFd, target: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
    seek(source, SeekFrom::Start(start))?;
    seek(target, SeekFrom::Start(start))?;
    let mut source = File::from(source.try_clone()?).take(end - start);
    let mut target = File::from(target.try_clone()?);
    io::copy(&mut source, &mut target)?;
    target.flush()
}

/// Makes an open file or folder like the source: attributes, owner, mode and times, in the order in
/// which none undoes another (a change of owner drops set-id bits and capabilities).
pub(super) fn dress(source: &OwnedFd, target: &OwnedFd, stat: &Stat) -> io::Result<()> {
    fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    attributes(source, target)?;
    fchmod(target, permissions(stat.st_mode))?;
    Ok(futimens(target, &times(stat))?)
}

fn attributes(source: impl AsFd, target: impl AsFd) -> io::Result<()> {
    match flistxattr_query(&source) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        result => result?,
    };
    let mut list = vec![0; ATTRIBUTE_SPACE];
    let length = flistxattr(&source, &mut list[..])?;
    let mut value = vec![0; ATTRIBUTE_SPACE];
    for name in list[..length].split(|byte| *byte == 0) {
        if ATTRIBUTES.iter().any(|travels| name.starts_with(travels)) {
            let name = OsStr::from_bytes(name);
            let length = match fgetxattr(&source, name, &mut value[..]) {
                // Removed meanwhile.
                Err(Errno::NODATA) => continue,
                length => length?,
            };
            fsetxattr(&target, name, &value[..length], XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Owner, mode and times of what cannot be opened. A symlink has no mode of its own.
fn dress_by_name(folder: &Folder, name: &OsStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(&folder.target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        chmodat(&folder.target, name, permissions(stat.st_mode), AtFlags::empty())?;
    }
    Ok(utimensat(&folder.target, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

#[expect(clippy::cast_possible_wrap, reason = "nanoseconds are below a thousand million")]
fn times(stat: &Stat) -> Timestamps {
    let time =
        |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
