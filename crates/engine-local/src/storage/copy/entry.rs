//! One entry of a folder: its kind, its bytes, its attributes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chownat, copy_file_range, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, ftruncate,
    futimens, ioctl_ficlone, linkat, mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::permissions;
use super::work::{Folder, Work};
use crate::storage::error::StorageError;

/// Extended attributes that travel: whole names, or beginnings that end in a dot.
const ATTRIBUTES: [&[u8]; 4] =
    [b"user.", b"trusted.", b"system.posix_acl_", b"security.capability"];
/// The longest list of names, and the longest value, that Linux allows.
const ATTRIBUTE_SPACE: usize = 64 * 1024;
/// Nobody may look into what is not finished.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Copies the entry `name` of `folder`. `true` for a folder, which is made and not filled.
pub(super) fn copy(
    work: &Work,
    folder: &Arc<Folder>,
    name: &OsString,
) -> Result<bool, StorageError> {
    let path = folder.path.join(name);
    let failed = work.failed(&path);
    let stat =
        statat(&folder.source, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(e.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    match kind {
        FileType::Directory => mkdirat(&folder.target, name, Mode::RWXU).map_err(io::Error::from),
        FileType::RegularFile => file(work, folder, name, &path, &stat),
        FileType::Symlink => readlinkat(&folder.source, name, Vec::new())
            .and_then(|target| symlinkat(target, &folder.target, name))
            .map_err(io::Error::from)
            .and_then(|()| dress_by_name(folder, name, &stat)),
        FileType::Fifo => special(folder, name, kind, &stat),
        FileType::CharacterDevice if stat.st_rdev == 0 => special(folder, name, kind, &stat),
        FileType::Socket => Ok(()),
        _ => return Err(StorageError::Device { path: work.path(&path) }),
    }
    .map_err(failed)?;
    Ok(kind == FileType::Directory)
}

/// A fifo, or a whiteout: the character device 0/0 by which overlayfs marks what is deleted.
fn special(folder: &Folder, name: &OsStr, kind: FileType, stat: &Stat) -> io::Result<()> {
    mknodat(&folder.target, name, kind, permissions(stat.st_mode), stat.st_rdev)?;
    dress_by_name(folder, name, stat)?;
    // The umask took part above.
    rustix::fs::chmodat(&folder.target, name, permissions(stat.st_mode), AtFlags::empty())?;
    times_by_name(folder, name, stat)
}

fn file(work: &Work, folder: &Folder, name: &OsStr, path: &Path, stat: &Stat) -> io::Result<()> {
    let target = if stat.st_nlink > 1 {
        let mut links = work.links.lock();
        if let Some(first) = links.get(&(stat.st_dev, stat.st_ino)) {
            return Ok(linkat(&work.target_root, first, &folder.target, name, AtFlags::empty())?);
        }
        let target = create(folder, name)?;
        links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        target
    } else {
        create(folder, name)?
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(&folder.source, name, flags, Mode::empty())?;
    content(work, &source, &target, stat)?;
    dress(&source, &target, stat)
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
        data_only(source, target)?;
    }
    Ok(ftruncate(target, size)?)
}

/// Copies what is not a hole.
fn data_only(source: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let mut end = 0;
    loop {
        let start = match seek(source, SeekFrom::Data(end)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        end = seek(source, SeekFrom::Hole(start))?;
        span(source, target, start, end)?;
    }
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
    let none: &mut [u8] = &mut [];
    match flistxattr(&source, none) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        result => result?,
    };
    let mut list = vec![0; ATTRIBUTE_SPACE];
    let length = flistxattr(&source, &mut list[..])?;
    let mut value = vec![0; ATTRIBUTE_SPACE];
    for name in list[..length].split(|byte| *byte == 0) {
        if ATTRIBUTES.iter().any(|travels| name.starts_with(travels)) {
            let name = OsStr::from_bytes(name);
            let length = fgetxattr(&source, name, &mut value[..])?;
            fsetxattr(&target, name, &value[..length], XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Owner and times of what cannot be opened.
fn dress_by_name(folder: &Folder, name: &OsStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(&folder.target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    times_by_name(folder, name, stat)
}

fn times_by_name(folder: &Folder, name: &OsStr, stat: &Stat) -> io::Result<()> {
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
