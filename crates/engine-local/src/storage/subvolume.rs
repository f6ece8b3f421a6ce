//! Layers that are subvolumes of btrfs.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use boxherd_model::{BoxId, ByteSize};
use boxherd_sys::btrfs;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::error::{StorageError, refused};
use super::quota::Quota;

/// Snapshots that are asked for at once share a commit of the filesystem, which is what takes the
/// time.
const AT_ONCE: usize = 16;

/// Whether subvolumes can be made *and removed* there, which takes root.
pub(super) fn usable(folder: &File) -> bool {
    rustix::process::geteuid().is_root() && btrfs::is_btrfs(folder).unwrap_or(false)
}

/// Makes an empty subvolume at `path`, in the open folder `folder`.
pub(super) fn make(
    folder: &File,
    path: &Path,
    quota: Option<&Quota>,
    id: BoxId,
    limit: Option<ByteSize>,
) -> Result<(), StorageError> {
    let failed = refused("make", path);
    let group = quota.map(|quota| quota.prepare(folder, id, limit)).transpose().map_err(&failed)?;
    let made = btrfs::create_subvolume(folder, name(path)?, group.flatten());
    let private = || fs::set_permissions(path, Permissions::from_mode(0o700));
    finish(folder, path, quota, id, limit, made, private).map_err(failed)
}

/// Makes `path`, in the open folder `folder`, a snapshot of the subvolume `source` that belongs to
/// the box `id`.
pub(super) fn snapshot(
    source: &Path,
    folder: &File,
    path: &Path,
    quota: Option<&Quota>,
    id: BoxId,
    limit: Option<ByteSize>,
) -> Result<(), StorageError> {
    let failed = refused("clone", path);
    let open = File::open(source).map_err(refused("open", source))?;
    let group = quota.map(|quota| quota.prepare(folder, id, limit)).transpose().map_err(&failed)?;
    let made = btrfs::snapshot(&open, folder, name(path)?, group.flatten());
    finish(folder, path, quota, id, limit, made, || Ok(())).map_err(failed)
}

/// Sets what can only be set on what exists, and takes everything back on failure.
fn finish(
    folder: &File,
    path: &Path,
    quota: Option<&Quota>,
    id: BoxId,
    limit: Option<ByteSize>,
    made: io::Result<()>,
    dress: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let made = made.and_then(|()| {
        let limited = || quota.map_or(Ok(()), |quota| quota.limit_made(folder, path, limit));
        dress().and_then(|()| limited()).inspect_err(|_| {
            // The first error says more.
            drop(path.file_name().map(|name| btrfs::destroy_subvolume(folder, name)));
        })
    });
    made.inspect_err(|_| {
        if let Some(quota) = quota.filter(|quota| quota.has_groups()) {
            // Else whoever deletes the box does it.
            quota.forget(folder, id);
        }
    })
}

fn name(path: &Path) -> Result<&std::ffi::OsStr, StorageError> {
    path.file_name().ok_or_else(|| refused("make", path)(Errno::INVAL.into()))
}

/// Does `work` for each item, many at once, and stops after the first failure.
pub(super) fn for_all<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> Result<(), StorageError> + Sync,
) -> Result<(), StorageError> {
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let take_part = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                failure.lock().get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..items.len().min(AT_ONCE) {
            scope.spawn(take_part);
        }
        take_part();
    });
    failure.into_inner().map_or(Ok(()), Err)
}
