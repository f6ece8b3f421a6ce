//! Control groups: v1, v2, and both at once.
//!
//! Every box has a group `boxherd-INSTALLATION/ID` in each hierarchy that is used. [`layout`] says
//! which those are; [`Group`] drives the groups of one box.

mod group;
mod layout;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use boxherd_model::{BoxId, DEFAULT_PIDS, Limits};
use rustix::fs::{Mode, OFlags};

pub(crate) use group::{Group, Joins, MemoryWatch};
pub(crate) use layout::{Controller, Layout, Place};

/// How often a group is tried to be made while others remove the folder that it is made in.
const ATTEMPTS: usize = 100;

/// The hierarchies of this host, and our folder in each.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchies {
    layout: Layout,
    folder: String,
    /// What a box may use whose spec sets no limit, in bytes: half of this host.
    default_memory: u64,
}

impl Hierarchies {
    /// Looks at this host. `None` when this process may not make groups in it.
    pub(crate) fn detect(installation: &str) -> io::Result<Option<Self>> {
        let layout = Layout::detect()?;
        let memory = rustix::system::sysinfo();
        let total = memory.totalram as u64 * u64::from(memory.mem_unit);
        let folder = format!("boxherd-{installation}");
        let this = Self { layout, folder, default_memory: total / 2 };
        Ok(this.usable().then_some(this))
    }

    /// Without a freezer there is no telling which processes are a box's.
    fn usable(&self) -> bool {
        let Some(Place::V1(root) | Place::V2(root)) = self.layout.place(Controller::Freezer) else {
            return false;
        };
        rustix::fs::access(root, rustix::fs::Access::WRITE_OK).is_ok()
    }

    /// Whether `controller` is anywhere.
    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.layout.place(controller).is_some()
    }

    /// The groups of a box, whether they are there or not.
    pub(crate) fn group(&self, id: BoxId) -> Group {
        let place = |root: &Path| root.join(&self.folder).join(id.to_string());
        let mut group = Group::default();
        for controller in Controller::ALL {
            match self.layout.place(controller) {
                Some(Place::V1(root)) => group.v1.push((controller, place(root))),
                Some(Place::V2(root)) => group.unified = Some(place(root)),
                None => {}
            }
        }
        group
    }

    /// Makes the group of a box in the unified hierarchy, anew when there is an old one, for a process
    /// to be cloned into; `None` where none is used. The caller has seen to it that no process is left
    /// in the groups of the box, and comes for the [others](Self::make).
    pub(crate) fn make_first(&self, id: BoxId) -> io::Result<Option<OwnedFd>> {
        let Some(folder) = self.group(id).unified else { return Ok(None) };
        self.make_folder(&folder)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Some(rustix::fs::open(&folder, flags, Mode::empty())?))
    }

    /// Makes the other groups of a box, and sets its limits.
    pub(crate) fn make(&self, id: BoxId, limits: &Limits) -> io::Result<Group> {
        let mut group = self.group(id);
        if limits.cpus.is_none() {
            // One group less to make, to join and to remove.
            group.forget(Controller::Cpu);
        }
        for folder in group.others() {
            self.make_folder(folder)?;
        }
        group.limit(
            limits.memory.map_or(self.default_memory, |size| size.bytes()),
            limits.pids.unwrap_or(DEFAULT_PIDS).into(),
            limits.cpus,
        )?;
        Ok(group)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            match self.try_to_make_folder(folder) {
                // Whoever deletes what was the last box removes our folder under our hands.
                Err(error) if group::is_absent(&error) => {}
                made => return made,
            }
        }
        self.try_to_make_folder(folder)
    }

    fn try_to_make_folder(&self, folder: &Path) -> io::Result<()> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_ours(folder.parent().unwrap_or(folder))?;
                fs::create_dir(folder)
            }
            // A group remembers that its last processes ran out of memory.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                group::remove_folder(folder)?;
                fs::create_dir(folder)
            }
            made => made,
        }
    }

    /// The folder of this installation in one hierarchy.
    fn make_ours(&self, folder: &Path) -> io::Result<()> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let Some(root) = self.layout.unified().filter(|root| folder.starts_with(root)) else {
            return Ok(());
        };
        let down: Vec<_> = self.layout.delegated().map(|c| format!("+{}", c.as_str())).collect();
        if down.is_empty() {
            return Ok(());
        }
        for level in [root, folder] {
            fs::write(level.join("cgroup.subtree_control"), down.join(" "))?;
        }
        Ok(())
    }

    /// Removes the folders of this installation. For the end of an installation, and for tests: one
    /// with a group in it is an error.
    pub(crate) fn remove_ours(&self) -> io::Result<()> {
        let mut folders = self.ours().into_iter();
        folders.try_for_each(|folder| group::absent_is_fine(fs::remove_dir(folder)))
    }

    /// The same when the last box may have gone: where there is a group, and be it one that another
    /// process has made just now, the folder stays.
    pub(crate) fn remove_ours_if_empty(&self) -> io::Result<()> {
        self.ours().into_iter().try_for_each(|folder| {
            match group::absent_is_fine(fs::remove_dir(folder)) {
                Err(error) if group::is_in_use(&error) => Ok(()),
                removed => removed,
            }
        })
    }

    /// The folder of this installation in each hierarchy, whether it is there or not.
    fn ours(&self) -> Vec<PathBuf> {
        let place = |controller| match self.layout.place(controller) {
            Some(Place::V1(root) | Place::V2(root)) => Some(root.join(&self.folder)),
            None => None,
        };
        let mut folders: Vec<_> = Controller::ALL.into_iter().filter_map(place).collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    }
}
