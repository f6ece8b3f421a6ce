//! What is true: the boxes and their folders. Every handle on a fake engine shares one world, as
//! several processes on one host share one kernel.

use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use boxherd_engine::{EngineError, Truth, TruthState};
use boxherd_model::{BoxId, BoxSpec, DiskId, SnapshotId};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use tempfile::TempDir;

use crate::console::Console;
use crate::disk;
use crate::disks::{Attached, place};
use crate::guest::Guest;

/// The boxes of this "host".
#[derive(Debug)]
pub(crate) struct World {
    folder: TempDir,
    boxes: Mutex<BTreeMap<BoxId, Entry>>,
    disks: Mutex<BTreeMap<DiskId, Attached>>,
    /// The greatest token with which a box was claimed.
    fences: Mutex<BTreeMap<BoxId, u64>>,
    /// Held by whoever changes folders: work whose caller was cut off goes on, and a delete must
    /// not meet it half-way. What comes later fails for want of the box's folder.
    pub(crate) folders: Mutex<()>,
}

/// One box.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What was asked for, with the current name.
    pub(crate) spec: BoxSpec,
    /// Where it stands.
    pub(crate) state: TruthState,
    /// Its snapshots that are whole.
    pub(crate) snapshots: BTreeSet<SnapshotId>,
    /// What its main program wrote.
    pub(crate) console: Console,
    /// Its agent, while it runs or is suspended.
    pub(crate) guest: Option<Guest>,
}

impl World {
    pub(crate) fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("boxherd-fake-").tempdir()?;
        let (boxes, disks, fences, folders) = Default::default();
        Ok(Self { folder, boxes, disks, fences, folders })
    }

    /// Whose claim of a box holds.
    pub(crate) fn fence(&self, id: BoxId) -> Option<u64> {
        self.fences.lock().get(&id).copied()
    }

    pub(crate) fn raise_fence(&self, id: BoxId, token: u64) -> Result<(), EngineError> {
        let mut fences = self.fences.lock();
        let noted = fences.entry(id).or_default();
        if *noted > token {
            return Err(EngineError::Fenced(id));
        }
        *noted = token;
        Ok(())
    }

    pub(crate) fn lower_fence(&self, id: BoxId) {
        self.fences.lock().remove(&id);
    }

    /// The folder that is the disk of `id`.
    pub(crate) fn disk(&self, id: BoxId) -> PathBuf {
        self.home(id).join("disk")
    }

    /// The folder that is a saved disk of `id`.
    pub(crate) fn snapshot(&self, id: BoxId, snapshot: SnapshotId) -> PathBuf {
        self.home(id).join(snapshot.to_string())
    }

    /// Everything of `id` that is on disk.
    pub(crate) fn home(&self, id: BoxId) -> PathBuf {
        self.folder.path().join(id.to_string())
    }

    /// Writes down a box that is being made; from here on `delete` knows of it.
    pub(crate) fn begin(&self, id: BoxId, spec: &BoxSpec) -> Result<(), EngineError> {
        let entry = Entry {
            spec: spec.clone(),
            state: TruthState::Partial,
            snapshots: BTreeSet::new(),
            console: Console::default(),
            guest: None,
        };
        match self.boxes.lock().entry(id) {
            Occupied(_) => {
                return Err(EngineError::WrongState { op: "create", found: "already made" });
            }
            Vacant(place) => drop(place.insert(entry)),
        }
        std::fs::create_dir(self.home(id)).map_err(|e| EngineError::refused("make its folder", e))
    }

    /// The box, for as long as the guard lives. Never held across an `await`.
    pub(crate) fn entry(&self, id: BoxId) -> Result<MappedMutexGuard<'_, Entry>, EngineError> {
        MutexGuard::try_map(self.boxes.lock(), |boxes| boxes.get_mut(&id))
            .map_err(|_| EngineError::NoSuchBox(id))
    }

    /// The state of a box that is wholly made.
    pub(crate) fn state(&self, id: BoxId, op: &'static str) -> Result<TruthState, EngineError> {
        match self.entry(id)?.truth(id).state {
            TruthState::Partial => Err(EngineError::WrongState { op, found: "half made" }),
            state => Ok(state),
        }
    }

    /// Copies the disk of `source`, which stands still meanwhile, to a new folder. Blocks.
    pub(crate) fn copy_disk(&self, source: BoxId, to: &Path) -> io::Result<()> {
        let _alone = self.folders.lock();
        let running = |change: fn(&mut Guest)| {
            if let Ok(mut entry) = self.entry(source)
                && entry.state == TruthState::Running
                && let Some(guest) = &mut entry.guest
            {
                change(guest);
            }
        };
        running(Guest::suspend);
        let copied = disk::copy(&self.disk(source), to);
        running(Guest::resume);
        copied?;
        // Only the box itself has its disks.
        for (_, mount) in self.disks().values().flatten().filter(|(to, _)| *to == source) {
            let place = place(to, mount);
            std::fs::remove_file(&place)?;
            std::fs::create_dir(place)?;
        }
        Ok(())
    }

    /// Who has which disk. Never held across an `await`.
    pub(crate) fn disks(&self) -> MutexGuard<'_, BTreeMap<DiskId, Attached>> {
        self.disks.lock()
    }

    /// The folder that is a disk of its own.
    pub(crate) fn shelf(&self, disk: DiskId) -> PathBuf {
        self.folder.path().join("disks").join(disk.to_string())
    }

    /// Takes the running part out of a box, to be ended.
    pub(crate) fn take_guest(&self, id: BoxId) -> Option<Guest> {
        self.entry(id).ok()?.guest.take()
    }

    /// Forgets a box; its folder is already gone.
    pub(crate) fn forget(&self, id: BoxId) {
        for attached in self.disks().values_mut() {
            attached.take_if(|(to, _)| *to == id);
        }
        self.boxes.lock().remove(&id);
    }

    /// What is true of one box.
    pub(crate) fn truth(&self, id: BoxId) -> Option<Truth> {
        self.boxes.lock().get(&id).map(|entry| entry.truth(id))
    }

    /// What is true of every box.
    pub(crate) fn truths(&self) -> Vec<Truth> {
        self.boxes.lock().iter().map(|(id, entry)| entry.truth(*id)).collect()
    }

    /// Every box.
    pub(crate) fn ids(&self) -> Vec<BoxId> {
        self.boxes.lock().keys().copied().collect()
    }
}

impl Entry {
    fn truth(&self, id: BoxId) -> Truth {
        let state = match (&self.guest, self.state) {
            // The agent ended by itself, because `cmd` did or because it was killed.
            (Some(guest), TruthState::Running) => match guest.ended() {
                Some(reason) => TruthState::Stopped(reason),
                None => TruthState::Running,
            },
            (_, state) => state,
        };
        let (addresses, notes) = (Vec::new(), Vec::new());
        Truth { id, name: self.spec.name.clone(), state, addresses, notes, location: None }
    }
}

/// Runs blocking work on a thread of the runtime that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    step: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, EngineError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|panic| EngineError::refused(step, panic))?;
    done.map_err(|error| EngineError::refused(step, error))
}

impl Drop for World {
    fn drop(&mut self) {
        // Before the folder goes, so that no process of a box writes into it any more.
        let boxes = std::mem::take(self.boxes.get_mut());
        drop(boxes);
        if let Err(error) = disk::remove(self.folder.path()) {
            tracing::warn!(%error, "the folder of a fake engine stays behind");
        }
    }
}
