//! Disks of users: sized filesystems that boxes mount while they run.
//!
//! The store knows whose a disk is and what it is called; which box has it, the engine knows alone.

use std::collections::HashSet;
use std::sync::Arc;

use boxherd_engine::{DiskTruth, Disks, Engine, EngineError};
use boxherd_model::{
    Address, BoxId, BoxName, ByteSize, Capability, DiskId, DiskMount, EngineName, Holdings,
    LARGEST_DISK, MountPath, Request, SMALLEST_DISK, ThingId, Timestamp,
};
use boxherd_store::{ThingKind, ThingRecord};
use serde::{Deserialize, Serialize};

use crate::belongings::read;
use crate::herd::decide;
use crate::{Herd, HerdError};

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// For ever.
    pub id: ThingId,
    /// Unique among the disks of a user.
    pub name: String,
    /// How much it holds, with what its filesystem takes.
    pub size: ByteSize,
    /// Where it is.
    pub engine: EngineName,
    /// Whether the engine has it: it is being made otherwise, or was lost.
    pub ready: bool,
    /// Which box has it.
    pub attached: Option<Attachment>,
    /// When it was made.
    pub created: Timestamp,
}

/// That a box has a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The box.
    pub to: BoxId,
    /// What the box is called.
    pub name: String,
    /// Where it is mounted.
    pub path: MountPath,
    /// Nothing can be written.
    pub read_only: bool,
}

/// What a box is to mount of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The disk's id or name.
    pub disk: String,
    /// Where.
    pub path: MountPath,
    /// Nothing can be written.
    pub read_only: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    size: ByteSize,
    engine: EngineName,
}

impl Herd {
    /// Makes an empty disk on an engine; on the default one when `None`.
    pub async fn make_disk(
        &self,
        engine: Option<&EngineName>,
        name: &BoxName,
        size: ByteSize,
    ) -> Result<Disk, HerdError> {
        if !(SMALLEST_DISK..=LARGEST_DISK).contains(&size) {
            let reason = format!("a disk has {SMALLEST_DISK} to {LARGEST_DISK}");
            return Err(HerdError::Invalid { field: "size", reason });
        }
        let engine = Arc::clone(self.engine(engine)?);
        let disks = disks_of(&engine, "disk")?;
        let more = Holdings { disk: size.bytes(), ..Holdings::default() };
        let admitted = self.admit(&engine, self.quota().await?, more).await?;
        let body = Body { size, engine: engine.name().clone() };
        let thing = self.acquire(ThingKind::Disk, None, name.as_str(), &body).await?;
        // It is in the store, and counts.
        drop(admitted);
        let id = DiskId::from(thing.id);
        if let Err(source) = disks.make(id, size).await {
            // One that is left half made goes when its user destroys it.
            if disks.remove(id).await.is_ok() {
                self.give_up(&thing).await?;
            }
            return Err(failed("make", &thing, source));
        }
        self.describe(&thing, Some(&DiskTruth { id, attached: None })).await
    }

    /// The caller's disks, oldest first.
    pub async fn disks(&self) -> Result<Vec<Disk>, HerdError> {
        let things = self.belongings(ThingKind::Disk).await?;
        let mut found = Vec::new();
        if things.is_empty() {
            return Ok(found);
        }
        let engines: Result<HashSet<_>, HerdError> =
            things.iter().map(|thing| Ok(read::<Body>(thing)?.engine)).collect();
        let engines = engines?;
        let mut truths = Vec::new();
        // Others need not be asked, and may be out of reach.
        for engine in self.engines().iter().filter(|engine| engines.contains(engine.name())) {
            let Some(disks) = engine.disks() else { continue };
            let listed = disks.list().await;
            truths.extend(listed.map_err(|source| HerdError::Engine {
                op: "list the disks of",
                name: engine.name().to_string(),
                source,
            })?);
        }
        for thing in &things {
            let truth = truths.iter().find(|truth| truth.id == DiskId::from(thing.id));
            found.push(self.describe(thing, truth).await?);
        }
        Ok(found)
    }

    /// Destroys a disk of the caller's that is attached to no box.
    pub async fn remove_disk(&self, text: &str) -> Result<(), HerdError> {
        let thing = self.belonging(ThingKind::Disk, text).await?;
        let engine = self.engine(Some(&read::<Body>(&thing)?.engine))?;
        let removed = disks_of(engine, "disk")?.remove(thing.id.into()).await;
        removed.map_err(|source| failed("destroy", &thing, source))?;
        self.give_up(&thing).await
    }

    /// Attaches a disk to a box, both the caller's: at once to one that runs, at its next start to
    /// another.
    pub async fn attach_disk(&self, address: &Address, volume: &Volume) -> Result<(), HerdError> {
        let record = self.find(address).await?;
        let thing = self.belonging(ThingKind::Disk, &volume.disk).await?;
        let _held = self.lock(&record).await?;
        let record = self.find(address).await?;
        decide(&record, Request::Disk)?;
        let engine = self.engine_of(&record)?;
        let mount = mount(&thing, volume, engine.name())?;
        let attached = disks_of(engine, "attach")?.attach(record.id, &mount).await;
        attached.map_err(|source| failed("attach", &thing, source))
    }

    /// Detaches a disk from a box, both the caller's. What was written stays on it.
    pub async fn detach_disk(&self, address: &Address, text: &str) -> Result<(), HerdError> {
        let record = self.find(address).await?;
        let thing = self.belonging(ThingKind::Disk, text).await?;
        let _held = self.lock(&record).await?;
        let record = self.find(address).await?;
        let engine = self.engine_of(&record)?;
        let (disks, id) = (disks_of(engine, "detach")?, DiskId::from(thing.id));
        let listed = disks.list().await.map_err(|source| failed("look at", &thing, source))?;
        let has =
            |truth: &DiskTruth| truth.attached.as_ref().is_some_and(|(to, _)| *to == record.id);
        if !listed.iter().any(|truth| truth.id == id && has(truth)) {
            let found = "not the one that has the disk";
            let source = EngineError::WrongState { op: "detach", found };
            return Err(failed("detach", &thing, source));
        }
        disks.detach(record.id, id).await.map_err(|source| failed("detach", &thing, source))
    }

    /// What a box that is made on `engine` mounts from its first start on.
    pub(crate) async fn mounts(
        &self,
        engine: &Arc<dyn Engine>,
        volumes: &[Volume],
    ) -> Result<Vec<DiskMount>, HerdError> {
        let mut mounts = Vec::new();
        for volume in volumes {
            let thing = self.belonging(ThingKind::Disk, &volume.disk).await?;
            disks_of(engine, "volumes")?;
            mounts.push(mount(&thing, volume, engine.name())?);
        }
        Ok(mounts)
    }

    /// What the caller's disks hold together.
    pub(crate) async fn disk_holdings(&self) -> Result<Holdings, HerdError> {
        let mut sum = Holdings::default();
        for thing in self.belongings(ThingKind::Disk).await? {
            let disk = read::<Body>(&thing)?.size.bytes();
            sum = sum.and(Holdings { disk, ..Holdings::default() });
        }
        Ok(sum)
    }

    async fn describe(
        &self,
        thing: &ThingRecord,
        truth: Option<&DiskTruth>,
    ) -> Result<Disk, HerdError> {
        let Body { size, engine } = read(thing)?;
        let attached = match truth.and_then(|truth| truth.attached.clone()) {
            None => None,
            Some((to, mount)) => {
                // One that is deleted in this moment has no name any more.
                let record = self.store.box_by_id(to).await?;
                let name = record.map(|record| record.spec.name.to_string()).unwrap_or_default();
                Some(Attachment { to, name, path: mount.path, read_only: mount.read_only })
            }
        };
        let (id, name, created) = (thing.id, thing.name.clone(), thing.created);
        Ok(Disk { id, name, size, engine, ready: truth.is_some(), attached, created })
    }
}

fn disks_of<'e>(engine: &'e Arc<dyn Engine>, op: &'static str) -> Result<&'e dyn Disks, HerdError> {
    engine.disks().ok_or_else(|| HerdError::Engine {
        op: "have disks on",
        name: engine.name().to_string(),
        source: engine.unsupported(op, Capability::Disks),
    })
}

fn mount(thing: &ThingRecord, volume: &Volume, on: &EngineName) -> Result<DiskMount, HerdError> {
    let engine = read::<Body>(thing)?.engine;
    if engine != *on {
        let reason = format!("it is on the engine `{engine}`, and the box is on `{on}`");
        return Err(HerdError::Invalid { field: "disk", reason });
    }
    let Volume { path, read_only, .. } = volume;
    Ok(DiskMount { disk: thing.id.into(), path: path.clone(), read_only: *read_only })
}

fn failed(op: &'static str, thing: &ThingRecord, source: EngineError) -> HerdError {
    HerdError::Engine { op, name: thing.name.clone(), source }
}
