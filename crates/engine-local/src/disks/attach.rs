//! Disks and boxes together.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use boxherd_engine::{DiskTruth, EngineError, Unsupported, fault};
use boxherd_model::{BoxId, ByteSize, Capability, DiskId, DiskMount, Isolation};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::claim::{Claim, DiskFolder};
use super::image;
use crate::capabilities;
use crate::core::Core;
use crate::data::BoxFolder;
use crate::error::{at, helper};
use crate::helper::{HelperError, PLACE};
use crate::record::{self, BoxRecord, Runtime};

/// How many disks a box may have: each is a descriptor of the message that starts it.
const MOST: usize = 16;

/// What a box mounts of disks when it starts: paths, and mounts that are attached nowhere yet.
pub(crate) type Volumes = Vec<(String, OwnedFd)>;

/// A line of `/proc/PID/mountinfo`.
struct Mounted {
    id: u64,
    path: String,
}

impl Core {
    fn disk(&self, disk: DiskId) -> DiskFolder {
        DiskFolder::of(&self.data.disks(), disk)
    }

    pub(crate) fn make_disk(&self, disk: DiskId, size: ByteSize) -> Result<(), EngineError> {
        look("disk")(self)?;
        let folder = self.disk(disk);
        fs::create_dir_all(folder.path()).map_err(at("make the folder of the disk"))?;
        image::make(&folder.image(), size)
    }

    /// The claim comes first, so that nobody attaches what is half gone.
    pub(crate) fn remove_disk(&self, disk: DiskId) -> Result<(), EngineError> {
        let folder = self.disk(disk);
        if !folder.path().exists() {
            return Ok(());
        }
        match folder.take(&Claim::Removed).map_err(at("claim the disk"))? {
            None | Some(Claim::Removed) => {}
            Some(Claim::Attached { to, .. }) => return Err(in_use(disk, attached_to(to))),
        }
        if !image::is_free(&folder.image()).map_err(at("look where the disk is mounted"))? {
            folder.release().map_err(at("give the disk back"))?;
            return Err(in_use(disk, "it is still mounted"));
        }
        fs::remove_dir_all(folder.path()).map_err(at("remove the disk"))
    }

    pub(crate) fn list_disks(&self) -> Result<Vec<DiskTruth>, EngineError> {
        let entries = match fs::read_dir(self.data.disks()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at("list the disks"))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(at("list the disks"))?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let folder = self.disk(id);
            let attached = match folder.claim().map_err(at("read the claim of a disk"))? {
                Some(Claim::Removed) => continue,
                Some(Claim::Attached { to, mount }) => Some((to, mount)),
                None => None,
            };
            if folder.image().exists() {
                found.push(DiskTruth { id, attached });
            }
        }
        found.sort_unstable_by_key(|disk| disk.id);
        Ok(found)
    }

    pub(crate) fn attach_disk(&self, id: BoxId, mount: &DiskMount) -> Result<(), EngineError> {
        look("attach")(self)?;
        refuse_sandboxes(&self.record(id)?)?;
        let disk = self.disk(mount.disk);
        if !disk.image().exists() {
            return Err(EngineError::NoSuchDisk(mount.disk));
        }
        if self.mounts_of(id)?.iter().filter(|other| other.disk != mount.disk).count() >= MOST {
            let reason = format!("a box has at most {MOST} disks");
            return Err(EngineError::refused("attach the disk", reason));
        }
        let box_folder = self.folder(id);
        let noted = fs::create_dir_all(box_folder.disks())
            .and_then(|()| File::create(box_folder.disks().join(mount.disk.to_string())));
        noted.map_err(at("note the disk with the box"))?;
        let claim = Claim::Attached { to: id, mount: mount.clone() };
        match disk.take(&claim).map_err(at("claim the disk"))? {
            None => {
                fault::point("attach.claimed");
                self.mount_in(id, &disk, mount).inspect_err(|_| {
                    // What failed first says more; whoever attaches it next finds it claimed by
                    // this box, and does the same again.
                    drop(disk.release());
                })
            }
            // A call that was cut off, perhaps before the disk was mounted.
            Some(same) if same == claim => self.mount_in(id, &disk, mount),
            Some(Claim::Attached { to, .. }) => Err(in_use(mount.disk, attached_to(to))),
            Some(Claim::Removed) => Err(EngineError::NoSuchDisk(mount.disk)),
        }
    }

    /// Mounts a disk in a box that has processes.
    fn mount_in(&self, id: BoxId, disk: &DiskFolder, mount: &DiskMount) -> Result<(), EngineError> {
        let folder = self.folder(id);
        let Some((pid, pidfd)) = self.first_process(&folder)? else { return Ok(()) };
        if !find_mounts(pid, disk).map_err(at("look at the box's mounts"))?.is_empty() {
            return Ok(());
        }
        let tree = open_tree(disk, mount)?;
        let userns =
            File::open(format!("/proc/{pid}/ns/user")).map_err(at("open its namespace"))?;
        if has_ended(&pidfd).map_err(at("look at the box"))? {
            // The number may be another's by now; the box mounts it when it starts.
            return Ok(());
        }
        image::mapped(tree.as_fd(), userns.as_fd()).map_err(at("map ids on the disk"))?;
        let attached = self.helper.attach(pidfd.as_fd(), tree.as_fd(), mount.path.as_str());
        attached.map_err(|error| misplaced(mount.path.as_str(), error))?;
        fault::point("attach.mounted");
        Ok(())
    }

    pub(crate) fn detach_disk(&self, id: BoxId, disk: DiskId) -> Result<(), EngineError> {
        let folder = self.disk(disk);
        match folder.claim().map_err(at("read the claim of the disk"))? {
            Some(Claim::Attached { to, .. }) if to == id => {}
            _ => return self.forget_note(id, disk),
        }
        if let Some((pid, pidfd)) = self.first_process(&self.folder(id))? {
            // The latest first: one may be on top of another.
            let mounts = find_mounts(pid, &folder).map_err(at("look at the box's mounts"))?;
            for mounted in mounts.iter().rev() {
                let detached = self.helper.detach(pidfd.as_fd(), &mounted.path, mounted.id);
                detached.map_err(|error| used(disk, error))?;
            }
        }
        fault::point("detach.unmounted");
        if !image::is_free(&folder.image()).map_err(at("look where the disk is mounted"))? {
            return Err(in_use(disk, "a process of the box has it mounted elsewhere"));
        }
        folder.release().map_err(at("give the disk back"))?;
        self.forget_note(id, disk)
    }

    fn forget_note(&self, id: BoxId, disk: DiskId) -> Result<(), EngineError> {
        let note = self.folder(id).disks().join(disk.to_string());
        record::remove(&note).map_err(at("forget the disk with the box"))
    }

    /// Gives back every disk of a box that has no processes.
    pub(crate) fn release_disks(&self, id: BoxId) -> Result<(), EngineError> {
        for mount in self.mounts_of(id)? {
            self.disk(mount.disk).release().map_err(at("give the disk back"))?;
        }
        Ok(())
    }

    /// What a box that is about to start mounts, upper folders first.
    pub(crate) fn volumes(&self, id: BoxId) -> Result<Volumes, EngineError> {
        let mut mounts = self.mounts_of(id)?;
        mounts.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let open = |mount: &DiskMount| {
            let tree = open_tree(&self.disk(mount.disk), mount)?;
            Ok((mount.path.to_string(), tree))
        };
        mounts.iter().map(open).collect()
    }

    /// What is attached to a box.
    fn mounts_of(&self, id: BoxId) -> Result<Vec<DiskMount>, EngineError> {
        let entries = match fs::read_dir(self.folder(id).disks()) {
            // Most boxes have none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at("look for the box's disks"))?,
        };
        let mut mounts = Vec::new();
        for entry in entries {
            let name = entry.map_err(at("look for the box's disks"))?.file_name();
            let Some(disk) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let claim = self.disk(disk).claim().map_err(at("read the claim of a disk"))?;
            match claim {
                Some(Claim::Attached { to, mount }) if to == id => mounts.push(mount),
                _ => {}
            }
        }
        Ok(mounts)
    }

    fn first_process(&self, folder: &BoxFolder) -> Result<Option<(i32, OwnedFd)>, EngineError> {
        let pidfd = self.pidfd(folder).map_err(at("look for the box's processes"))?;
        let Some(pidfd) = pidfd else { return Ok(None) };
        let runtime = record::read::<Runtime>(&folder.runtime());
        let runtime = runtime.map_err(at("read `runtime.json`"))?;
        Ok(runtime.map(|runtime| (runtime.pid, pidfd)))
    }
}

/// Refuses by name what this host cannot do.
fn look(op: &'static str) -> impl Fn(&Core) -> Result<(), EngineError> {
    move |core| {
        let refused = |reason| Unsupported { op, capability: Capability::Disks, reason }.into();
        capabilities::look(core, Capability::Disks).map_err(refused)
    }
}

fn refuse_sandboxes(record: &BoxRecord) -> Result<(), EngineError> {
    if record.spec.isolation != Isolation::Gvisor {
        return Ok(());
    }
    let reason = "boxes with gVisor mount nothing while they run".to_owned();
    Err(Unsupported { op: "attach", capability: Capability::Disks, reason }.into())
}

fn open_tree(disk: &DiskFolder, mount: &DiskMount) -> Result<OwnedFd, EngineError> {
    if !image::is_free(&disk.image()).map_err(at("look where the disk is mounted"))? {
        return Err(in_use(mount.disk, "it is still mounted"));
    }
    let step = || format!("mount disk {}", mount.disk);
    image::mount(&disk.image(), mount.read_only).map_err(at(step()))
}

fn attached_to(id: BoxId) -> String {
    format!("it is attached to box {id}")
}

fn in_use(disk: DiskId, reason: impl Into<String>) -> EngineError {
    EngineError::DiskInUse { disk, reason: reason.into() }
}

/// What the kernel says about a way that leads nowhere a disk can be.
fn misplaced(path: &str, error: HelperError) -> EngineError {
    let errno = match &error {
        HelperError::Failed(failure) if failure.step.starts_with(PLACE) => {
            failure.errno.map(Errno::from_raw_os_error)
        }
        _ => None,
    };
    let reason = match errno {
        Some(Errno::XDEV) => "something else is mounted there or on the way",
        Some(Errno::NOTDIR | Errno::EXIST) => "something that is no folder is there or on the way",
        Some(Errno::LOOP | Errno::AGAIN) => "its links lead nowhere",
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => "no folder can be made there",
        _ => return helper(error),
    };
    EngineError::MountPath { path: path.to_owned(), reason: reason.to_owned() }
}

fn used(disk: DiskId, error: HelperError) -> EngineError {
    match &error {
        HelperError::Failed(failure) if failure.errno == Some(Errno::BUSY.raw_os_error()) => {
            in_use(disk, "a process of the box has a file or its working folder on it")
        }
        _ => helper(error),
    }
}

/// Where the disk is mounted in the mounts of a process, in the order in which it was.
fn find_mounts(pid: i32, disk: &DiskFolder) -> io::Result<Vec<Mounted>> {
    let Some(device) = image::device(&disk.image())? else { return Ok(Vec::new()) };
    match fs::read_to_string(format!("/proc/{pid}/mountinfo")) {
        Ok(text) => Ok(on_device(&text, &device)),
        // It has just ended, and its mounts with it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The mounts of a device among those of `proc_pid_mountinfo(5)`. Pure.
fn on_device(text: &str, device: &str) -> Vec<Mounted> {
    let mount = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [id, _, on, _, path, ..] = fields[..] else { return None };
        (on == device).then(|| Some(Mounted { id: id.parse().ok()?, path: unescaped(path) }))?
    };
    text.lines().filter_map(mount).collect()
}

/// Undoes `\040` and the like. Pure.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (escaped, plain)| path.replace(escaped, plain))
}

/// Whether a process has ended, and its number may be another's.
fn has_ended(pidfd: &OwnedFd) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_their_device() {
        let text = "30 1 0:40 / / rw - overlay overlay rw\n\
                    41 30 7:3 / /srv/my\\040data rw,nosuid - ext4 /dev/loop3 rw\n\
                    42 30 7:30 / /other rw - ext4 /dev/loop30 rw\n";
        let found = on_device(text, "7:3");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].id, found[0].path.as_str()), (41, "/srv/my data"));
    }

    #[test]
    fn what_was_escaped_comes_back() {
        assert_eq!(unescaped("/a\\040b\\134c"), "/a b\\c");
    }
}
