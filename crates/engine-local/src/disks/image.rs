//! The filesystem of a disk: a sparse file with ext4 in it, made by the host and written to by boxes
//! only through the kernel's own ext4.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use boxherd_engine::EngineError;
use boxherd_model::ByteSize;
use boxherd_sys::loopdev::LoopDevice;
use boxherd_sys::mount::{Attributes, set_attributes};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::checks::find;
use crate::error::at;

const PROGRAM: &str = "mkfs.ext4";
/// How long the kernel may take to let go of a device whose filesystem is unmounted.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether disks can be had on this host; if not, why.
pub(crate) fn available() -> Result<(), String> {
    if find(PROGRAM).is_none() {
        return Err(format!("`{PROGRAM}` is not installed; install the package `e2fsprogs`"));
    }
    match Path::new("/dev/loop-control").exists() {
        true => Ok(()),
        false => Err("this host has no loop devices; `modprobe loop` brings them".to_owned()),
    }
}

/// Makes an empty filesystem in a new sparse file, all of it on disk.
pub(super) fn make(image: &Path, size: ByteSize) -> Result<(), EngineError> {
    let draft = image.with_extension("new");
    let made = File::create(&draft).and_then(|file| file.set_len(size.bytes()));
    made.map_err(at("make the file of the disk"))?;
    let program = find(PROGRAM).unwrap_or_else(|| PROGRAM.into());
    // Nothing is kept back for root, who is the box's; the tables are written when they are used.
    let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"];
    let output = Command::new(program).args(options).arg(&draft).output();
    let output = output.map_err(at(format!("run `{PROGRAM}`")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(EngineError::refused(format!("make the disk with `{PROGRAM}`"), said));
    }
    let synced = File::open(&draft).and_then(|file| file.sync_all());
    synced.map_err(at("write the disk"))?;
    fs::rename(&draft, image).map_err(at("finish the disk"))
}

/// Mounts it where nobody sees it. The loop device goes with the mount.
///
/// Read-only is the filesystem and not only the mount, so that no mount of it can be made writable
/// again; its journal is played back all the same, which is why the device can be written to.
pub(super) fn mount(image: &Path, read_only: bool) -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).open(image)?;
    let device = LoopDevice::attach(&file)?;
    let filesystem = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&filesystem, "source", device.path())?;
    fsconfig_set_string(&filesystem, "errors", "remount-ro")?;
    // What is deleted in the box takes no room on the host.
    fsconfig_set_flag(&filesystem, "discard")?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if read_only {
        fsconfig_set_flag(&filesystem, "ro")?;
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    fsconfig_create(&filesystem)?;
    Ok(fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Has what belongs to ids inside `userns` belong to its host ids. For a mount that is attached
/// nowhere yet.
pub(crate) fn mapped(tree: BorrowedFd<'_>, userns: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = Attributes { id_map: Some(userns), ..Attributes::default() };
    set_attributes(tree.as_fd(), attributes)
}

/// The number of the device that the image is on, as `/proc/PID/mountinfo` writes it, such as `7:3`.
/// Every mount of it, wherever it is, keeps it there.
pub(super) fn device(image: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir("/sys/block")? {
        let block = entry?.path();
        let file = match fs::read_to_string(block.join("loop/backing_file")) {
            Ok(file) => file,
            // Not a loop device, or one that nothing is on, or not any more.
            Err(_) => continue,
        };
        if Path::new(file.trim_end_matches('\n')) == image {
            return match fs::read_to_string(block.join("dev")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                number => number.map(|number| Some(number.trim().to_owned())),
            };
        }
    }
    Ok(None)
}

/// Whether the image is mounted nowhere any more, within [`PATIENCE`]: the kernel lets go of a device
/// a moment after the last mount of it, and later still while somebody looks at the device.
pub(super) fn is_free(image: &Path) -> io::Result<bool> {
    let begun = Instant::now();
    while device(image)?.is_some() {
        if begun.elapsed() > PATIENCE {
            return Ok(false);
        }
        // There is nothing to wait on: the kernel tells nobody.
        thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}
