//! A btrfs in a file of the data folder, for hosts whose data folder is not on btrfs.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use boxherd_model::ByteSize;
use boxherd_sys::btrfs;
use boxherd_sys::loopdev::LoopDevice;
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::mount::{MountFlags, mount};

use super::error::{StorageError, refused};
use super::pool::make_folder;

const IMAGE: &str = "pool.img";
const MOUNT: &str = "pool";
const LOCK: &str = "pool.lock";
/// An image under this name is not finished.
const UNFINISHED: &str = "pool.img.new";

/// What an empty btrfs takes, and then some, in bytes.
const NEEDED: u64 = 16 << 20;

/// Makes `DATA/pool.img`, a sparse btrfs of `size` with quotas, so that the next
/// [`Pool::open`](super::Pool::open) puts layers there. Layers that exist outside of it are not
/// moved, so `boxherd doctor --fix` calls this while there are none. Needs root.
///
/// # Errors
///
/// [`StorageError::PoolExists`]; [`StorageError::NoProgram`] without `mkfs.btrfs`;
/// [`StorageError::Program`] when it fails, for example because `size` is under 109 MiB.
pub fn prepare_loop_pool(data: &Path, size: ByteSize) -> Result<(), StorageError> {
    let _alone = lock(data)?;
    let image = data.join(IMAGE);
    if image.exists() {
        return Err(StorageError::PoolExists { path: image });
    }
    let unfinished = data.join(UNFINISHED);
    make_filesystem(&unfinished, size)
        .and_then(|()| fs::rename(&unfinished, &image).map_err(refused("finish", &image)))
        .inspect_err(|_| {
            // The first error says more, and the next attempt begins by truncating it.
            drop(fs::remove_file(&unfinished));
        })?;
    let mounted = mount_image(data)?;
    let folder = File::open(&mounted).map_err(refused("open", &mounted))?;
    btrfs::enable_quota(&folder, true)
        .or_else(|_| btrfs::enable_quota(&folder, false))
        .map_err(refused("enable quotas on", &mounted))
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
    if !data.join(IMAGE).exists() {
        return Ok(None);
    }
    let _alone = lock(data)?;
    mount_image(data).map(Some)
}

/// Mounts the image unless somebody was quicker. The caller holds the lock.
fn mount_image(data: &Path) -> Result<PathBuf, StorageError> {
    let (image, point) = (data.join(IMAGE), data.join(MOUNT));
    make_folder(&point)?;
    if is_mounted(data, &point) {
        return Ok(point);
    }
    let file =
        OpenOptions::new().read(true).write(true).open(&image).map_err(refused("open", &image))?;
    let device = LoopDevice::attach(&file).map_err(refused("attach", &image))?;
    let flags = MountFlags::NOATIME | MountFlags::NODEV;
    mount(device.path(), &point, "btrfs", flags, c"discard=async")
        .map_err(|error| refused("mount", &image)(error.into()))?;
    Ok(point)
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
