//! A btrfs in a file of the data folder, for hosts whose data folder is not on btrfs.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use boxherd_engine::fault;
use boxherd_model::ByteSize;
use boxherd_sys::btrfs;
use boxherd_sys::loopdev::LoopDevice;
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::error::{StorageError, refused};
use super::pool::{LAYERS, SNAPSHOTS, make_folder};
use super::quota::Quota;

const IMAGE: &str = "pool.img";
const MOUNT: &str = "pool";
const LOCK: &str = "pool.lock";
/// An image under this name is not finished.
const UNFINISHED: &str = "pool.img.new";
/// Where an image that is not finished is mounted.
const WORKSHOP: &str = "pool.new";
/// What of a pool can be in a data folder that holds nothing else yet.
pub(crate) const POOL_FILES: [&str; 5] = [IMAGE, MOUNT, LOCK, UNFINISHED, WORKSHOP];

/// What an empty btrfs takes, and then some, in bytes.
const NEEDED: u64 = 16 << 20;

/// Makes `DATA/pool.img`, a sparse btrfs of `size` with quotas, so that the next
/// [`Pool::open`](super::Pool::open) puts layers there. Needs root.
///
/// The image gets its name when it is whole and on disk: cut off anywhere, there is a pool or none, and
/// the next call begins anew. A pool without quotas, as somebody else may have made it, gets them.
///
/// # Errors
///
/// [`StorageError::PoolExists`]; [`StorageError::LayersOutside`] while there are layers that the pool
/// would hide; [`StorageError::NoProgram`] without `mkfs.btrfs`; [`StorageError::Program`] when it
/// fails, for example because `size` is under 109 MiB; [`StorageError::Full`].
pub fn prepare_loop_pool(data: &Path, size: ByteSize) -> Result<(), StorageError> {
    let _alone = lock(data)?;
    clear_workshop(data)?;
    let image = data.join(IMAGE);
    if image.exists() {
        let mounted = mount_image(data)?;
        let folder = File::open(&mounted).map_err(refused("open", &mounted))?;
        return match Quota::detect(&folder) {
            Ok(_) => Err(StorageError::PoolExists { path: image }),
            Err(_) => enable_quotas(&mounted),
        };
    }
    refuse_layers(data)?;
    let made = make_image(data, &data.join(UNFINISHED), size).and_then(|()| {
        fs::rename(data.join(UNFINISHED), &image).map_err(refused("finish", &image))
    });
    made.inspect_err(|_| {
        // The first error says more, and the next attempt begins with the same.
        drop(clear_workshop(data));
    })?;
    fault::point("pool.whole");
    let synced = File::open(data).and_then(|folder| folder.sync_all());
    synced.map_err(refused("write to disk", data))?;
    mount_image(data)?;
    fault::point("pool.ready");
    Ok(())
}

/// Makes a whole pool under a name that is not its own, all of it on disk.
fn make_image(data: &Path, image: &Path, size: ByteSize) -> Result<(), StorageError> {
    make_filesystem(image, size)?;
    fault::point("pool.formatted");
    let workshop = data.join(WORKSHOP);
    make_folder(&workshop)?;
    mount_at(image, &workshop)?;
    fault::point("pool.mounted");
    enable_quotas(&workshop)?;
    fault::point("pool.counted");
    leave(&workshop)?;
    fault::point("pool.unmounted");
    let synced = File::open(image).and_then(|file| file.sync_all());
    synced.map_err(refused("write to disk", image))
}

/// Removes what an attempt has left that did not come to its end.
fn clear_workshop(data: &Path) -> Result<(), StorageError> {
    let (workshop, image) = (data.join(WORKSHOP), data.join(UNFINISHED));
    if is_mounted(data, &workshop) || workshop.exists() {
        leave(&workshop)?;
    }
    match fs::remove_file(&image) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(refused("remove", &image)),
    }
}

/// Unmounts the workshop and removes it.
fn leave(workshop: &Path) -> Result<(), StorageError> {
    match unmount(workshop, UnmountFlags::NOFOLLOW) {
        // It was not mounted.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(refused("unmount", workshop)(error.into())),
    }
    fs::remove_dir(workshop).map_err(refused("remove", workshop))
}

/// Boxes would not find their layers in a pool that is made after them.
fn refuse_layers(data: &Path) -> Result<(), StorageError> {
    for name in [LAYERS, SNAPSHOTS] {
        let path = data.join(name);
        match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused("list", &path)(error)),
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(StorageError::LayersOutside { path });
                }
            }
        }
    }
    Ok(())
}

fn enable_quotas(mounted: &Path) -> Result<(), StorageError> {
    let folder = File::open(mounted).map_err(refused("open", mounted))?;
    btrfs::enable_quota(&folder, true)
        .or_else(|_| btrfs::enable_quota(&folder, false))
        .map_err(refused("enable quotas on", mounted))
}

fn make_filesystem(image: &Path, size: ByteSize) -> Result<(), StorageError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(image)
        .map_err(refused("make", image))?;
    file.set_len(size.bytes()).map_err(refused("make", image))?;
    fault::point("pool.begun");
    let output = Command::new("mkfs.btrfs")
        .args(["--quiet", "--data", "single", "--metadata", "single", "--nodiscard"])
        .arg(image)
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (program, package) = ("mkfs.btrfs", "btrfs-progs");
            return Err(StorageError::NoProgram { program, package });
        }
        result => result.map_err(refused("run mkfs.btrfs on", image))?,
    };
    if output.status.success() {
        return Ok(());
    }
    if is_full(image)? {
        return Err(StorageError::Full { action: "make", path: image.to_owned() });
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(StorageError::Program { program: "mkfs.btrfs", output })
}

/// Whether that little is left on the filesystem of the image that `mkfs.btrfs` had to fail: the kernel
/// tells it of a device that does not work, and not why.
fn is_full(image: &Path) -> Result<bool, StorageError> {
    let left = statvfs(image).map_err(|error| refused("examine", image)(error.into()))?;
    Ok(left.f_bavail.saturating_mul(left.f_frsize) < NEEDED)
}

/// Mounts the prepared pool if there is one, and says where.
pub(super) fn mount_if_prepared(data: &Path) -> Result<Option<PathBuf>, StorageError> {
    let point = data.join(MOUNT);
    if is_mounted(data, &point) {
        return Ok(Some(point));
    }
    let image = data.join(IMAGE);
    if !image.exists() {
        // The folder is made for a pool that is there, and only then.
        return if point.exists() { Err(StorageError::PoolGone { path: image }) } else { Ok(None) };
    }
    let _alone = lock(data)?;
    mount_image(data).map(Some)
}

/// Mounts the image unless somebody was quicker. The caller holds the lock.
fn mount_image(data: &Path) -> Result<PathBuf, StorageError> {
    let (image, point) = (data.join(IMAGE), data.join(MOUNT));
    make_folder(&point)?;
    if !is_mounted(data, &point) {
        mount_at(&image, &point)?;
    }
    Ok(point)
}

fn mount_at(image: &Path, point: &Path) -> Result<(), StorageError> {
    let file =
        OpenOptions::new().read(true).write(true).open(image).map_err(refused("open", image))?;
    let device = LoopDevice::attach(&file).map_err(refused("attach", image))?;
    let flags = MountFlags::NOATIME | MountFlags::NODEV;
    mount(device.path(), point, "btrfs", flags, c"discard=async").map_err(|error| match error {
        // Its words for what is no btrfs, or not all of one.
        Errno::INVAL | Errno::IO | Errno::UCLEAN | Errno::NXIO => {
            StorageError::PoolDamaged { path: image.to_owned(), source: error.into() }
        }
        error => refused("mount", image)(error.into()),
    })
}

fn is_mounted(data: &Path, point: &Path) -> bool {
    match (fs::metadata(data), fs::symlink_metadata(point)) {
        (Ok(data), Ok(point)) => point.is_dir() && data.dev() != point.dev(),
        _ => false,
    }
}

fn lock(data: &Path) -> Result<File, StorageError> {
    let path = data.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(refused("open", &path))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|e| refused("lock", &path)(e.into()))?;
    Ok(file)
}
