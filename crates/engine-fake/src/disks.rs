//! Disks of their own: folders, to which links lead from the boxes that have them. Their sizes and
//! that some are read-only are noted, and not held.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use boxherd_engine::{DiskTruth, Disks, EngineError};
use boxherd_model::{BoxId, ByteSize, DiskId, DiskMount};

use crate::world::{World, blocking};
use crate::{FakeEngine, disk};

/// Who has a disk.
pub(crate) type Attached = Option<(BoxId, DiskMount)>;

#[async_trait]
impl Disks for FakeEngine {
    async fn make(&self, disk: DiskId, _size: ByteSize) -> Result<(), EngineError> {
        self.faults().reach("disk.make").await?;
        let folder = self.world.shelf(disk);
        blocking("make a disk", move || fs::create_dir_all(folder)).await?;
        self.world.disks().insert(disk, None);
        Ok(())
    }

    async fn remove(&self, disk: DiskId) -> Result<(), EngineError> {
        self.faults().reach("disk.remove").await?;
        if let Some(Some((to, _))) = self.world.disks().get(&disk) {
            return Err(in_use(disk, *to));
        }
        self.world.disks().remove(&disk);
        let folder = self.world.shelf(disk);
        blocking("remove a disk", move || disk::remove(&folder)).await
    }

    async fn attach(&self, id: BoxId, mount: &DiskMount) -> Result<(), EngineError> {
        self.pass(id)?;
        self.faults().reach("disk.attach").await?;
        self.world.state(id, "attach")?;
        let wanted = Some((id, mount.clone()));
        {
            let mut disks = self.world.disks();
            let attached = disks.get_mut(&mount.disk).ok_or(EngineError::NoSuchDisk(mount.disk))?;
            match attached {
                Some(_) if *attached == wanted => return Ok(()),
                Some((to, _)) => return Err(in_use(mount.disk, *to)),
                None => *attached = wanted,
            }
        }
        let linked = link(&self.world, id, mount);
        linked.inspect_err(|_| drop(self.world.disks().insert(mount.disk, None))).map_err(|error| {
            EngineError::MountPath { path: mount.path.to_string(), reason: error.to_string() }
        })
    }

    async fn detach(&self, id: BoxId, disk: DiskId) -> Result<(), EngineError> {
        self.pass(id)?;
        self.faults().reach("disk.detach").await?;
        let attached = self.world.disks().get(&disk).cloned().flatten();
        let Some((to, mount)) = attached else { return Ok(()) };
        if to == id {
            let unlinked = unlink(&self.world, id, &mount);
            unlinked.map_err(|error| EngineError::refused("detach the disk", error))?;
            self.world.disks().insert(disk, None);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<DiskTruth>, EngineError> {
        self.faults().reach("disk.list").await?;
        let disks = self.world.disks();
        let truth = |(id, attached): (&DiskId, &Attached)| DiskTruth {
            id: *id,
            attached: attached.clone(),
        };
        Ok(disks.iter().map(truth).collect())
    }
}

fn in_use(disk: DiskId, by: BoxId) -> EngineError {
    EngineError::DiskInUse { disk, reason: format!("it is attached to box {by}") }
}

/// Where a disk appears in the folder of a box.
pub(crate) fn place(root: &Path, mount: &DiskMount) -> PathBuf {
    mount.path.names().fold(root.to_owned(), |path, name| path.join(name))
}

/// Puts a link in the place of the folder, which is made where it is not there.
fn link(world: &World, id: BoxId, mount: &DiskMount) -> io::Result<()> {
    let place = place(&world.disk(id), mount);
    fs::create_dir_all(&place)?;
    fs::rename(&place, covered(world, id, mount))?;
    std::os::unix::fs::symlink(world.shelf(mount.disk), place)
}

fn unlink(world: &World, id: BoxId, mount: &DiskMount) -> io::Result<()> {
    let place = place(&world.disk(id), mount);
    fs::remove_file(&place)?;
    fs::rename(covered(world, id, mount), place)
}

/// Where the folder is meanwhile.
fn covered(world: &World, id: BoxId, mount: &DiskMount) -> PathBuf {
    world.home(id).join(format!("below-{}", mount.disk))
}
