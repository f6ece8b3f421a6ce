//! Operations on files that have one answer.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use boxherd_link::proto::{self, Answer, Ask, Cause};
use rustix::fs::{
    AtFlags, CWD, StatVfsMountFlags, Timespec, Timestamps, UTIME_OMIT, chownat, statvfs, utimensat,
};
use rustix::process::{Gid, Uid};

use crate::{Inner, done, failure, io_failure};

/// Answers a question about files.
pub(crate) fn answer(inner: &Inner, ask: Ask) -> Answer {
    let at = |path: &[u8]| inner.place(path);
    match ask {
        Ask::Stat(path) => stat_answer(fs::metadata(at(&path.path))),
        Ask::Lstat(path) => stat_answer(fs::symlink_metadata(at(&path.path))),
        Ask::StatVfs(path) => statvfs_answer(&at(&path.path)),
        Ask::Mkdir(ask) => done(mkdir(&at(&ask.path), ask.mode, ask.parents)),
        Ask::Remove(ask) => done(remove(&at(&ask.path), ask.recursive, ask.missing_ok)),
        Ask::Rename(pair) => done(fs::rename(at(&pair.from), at(&pair.to))),
        Ask::Truncate(ask) => done(truncate(&at(&ask.path), ask.size)),
        Ask::Symlink(pair) => {
            done(std::os::unix::fs::symlink(OsStr::from_bytes(&pair.from), at(&pair.to)))
        }
        Ask::ReadLink(path) => match fs::read_link(at(&path.path)) {
            Ok(target) => Answer::Path(proto::Path { path: target.into_os_string().into_vec() }),
            Err(error) => io_failure(&error),
        },
        Ask::HardLink(pair) => done(fs::hard_link(at(&pair.from), at(&pair.to))),
        Ask::SetTimes(ask) => done(set_times(&at(&ask.path), &ask)),
        Ask::Chmod(ask) => {
            let permissions = fs::Permissions::from_mode(ask.mode & 0o7777);
            done(fs::set_permissions(at(&ask.path), permissions))
        }
        Ask::Chown(ask) => done(chown(&at(&ask.path), ask.uid, ask.gid, ask.no_follow)),
        Ask::Listening(_) | Ask::Stats(_) | Ask::Refresh(_) | Ask::Stop(_) => {
            failure(Cause::Unsupported, 0, "this question about files")
        }
    }
}

fn stat_answer(metadata: io::Result<fs::Metadata>) -> Answer {
    match metadata {
        Ok(metadata) => Answer::Stat(stat(&metadata)),
        Err(error) => io_failure(&error),
    }
}

/// What `stat` says, for the wire.
pub(super) fn stat(metadata: &fs::Metadata) -> proto::Stat {
    let time = |seconds: i64, nanos: i64| {
        Some(proto::Time { seconds, nanos: u32::try_from(nanos).unwrap_or(0) })
    };
    proto::Stat {
        mode: metadata.mode(),
        size: metadata.size(),
        allocated: metadata.blocks().saturating_mul(512),
        uid: metadata.uid(),
        gid: metadata.gid(),
        nlink: metadata.nlink(),
        dev: metadata.dev(),
        ino: metadata.ino(),
        accessed: time(metadata.atime(), metadata.atime_nsec()),
        modified: time(metadata.mtime(), metadata.mtime_nsec()),
        changed: time(metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn statvfs_answer(path: &Path) -> Answer {
    match statvfs(path) {
        Ok(fs) => Answer::StatVfs(proto::StatVfs {
            total: fs.f_blocks.saturating_mul(fs.f_frsize),
            free: fs.f_bfree.saturating_mul(fs.f_frsize),
            available: fs.f_bavail.saturating_mul(fs.f_frsize),
            files: fs.f_files,
            files_free: fs.f_ffree,
            name_max: fs.f_namemax,
            read_only: fs.f_flag.contains(StatVfsMountFlags::RDONLY),
        }),
        Err(error) => io_failure(&error.into()),
    }
}

fn mkdir(path: &Path, mode: Option<u32>, parents: bool) -> io::Result<()> {
    if parents && let Some(parent) = path.parent() {
        make_parents(parent)?;
    }
    let mode = mode.unwrap_or(0o755) & 0o7777;
    match fs::DirBuilder::new().mode(mode).create(path) {
        // The umask of whoever started the agent has no say.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(_) if parents && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a directory and what is above it, 0755 each.
pub(super) fn make_parents(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn remove(path: &Path, recursive: bool, missing_ok: bool) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && recursive => fs::remove_dir_all(path),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if missing_ok && error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn truncate(path: &Path, size: u64) -> io::Result<()> {
    fs::File::options().write(true).open(path)?.set_len(size)
}

fn set_times(path: &Path, ask: &proto::SetTimes) -> io::Result<()> {
    let timespec = |time: Option<proto::Time>| match time {
        Some(time) => {
            let tv_nsec = i64::from(time.nanos.min(999_999_999));
            Timespec { tv_sec: time.seconds, tv_nsec }
        }
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    };
    let times = Timestamps {
        last_access: timespec(ask.accessed),
        last_modification: timespec(ask.modified),
    };
    Ok(utimensat(CWD, path, &times, follow(ask.no_follow))?)
}

fn chown(path: &Path, uid: Option<u32>, gid: Option<u32>, no_follow: bool) -> io::Result<()> {
    // The number that stands for `leave it` to the kernel is no id.
    if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
        return Err(rustix::io::Errno::INVAL.into());
    }
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    Ok(chownat(CWD, path, uid, gid, follow(no_follow))?)
}

fn follow(no_follow: bool) -> AtFlags {
    if no_follow { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() }
}
