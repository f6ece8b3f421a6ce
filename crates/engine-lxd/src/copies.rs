//! Copies of boxes, and saved disks.

use std::collections::BTreeMap;

use async_trait::async_trait;
use boxherd_engine::{Child, Engine as _, EngineError, Made, Snapshots, TruthState};
use boxherd_lxd_client::{
    Error, FileMeta, Instance, InstanceInfo, InstanceKind, InstancePut, NewFile, NewInstance,
    NewSnapshot, Source, StateChange,
};
use boxherd_model::{BoxId, SnapshotId};
use uuid::Uuid;

use crate::console::content;
use crate::engine::LxdEngine;
use crate::error::{failed, failed_of};
use crate::{disks, marks, spec, state};

/// What tells machines apart that have systemd or dbus.
const MACHINE_ID: &str = "/etc/machine-id";
/// How the names of snapshots begin that are taken to be copied.
const TO_COPY: &str = "boxherd-fork-";
/// Of a machine id, in bytes.
const MACHINE_ID_LENGTH: usize = 64;

impl LxdEngine {
    /// Copies a box, from a snapshot that is taken for it. Its host name and its hardware addresses
    /// the server makes; who it is, we.
    pub(crate) async fn copy(
        &self,
        source: BoxId,
        children: &[Child],
    ) -> Result<Vec<Made>, EngineError> {
        children.iter().for_each(|child| self.known.names.intend(child.id));
        let (instance, info) = self.known.there(source).await?;
        self.remove_stale(&instance).await.map_err(failed_of(source, "look at the snapshots"))?;
        let snapshot = format!("{TO_COPY}{}", Uuid::now_v7().simple());
        let taken = self.take_of(source, &instance, &info, &snapshot).await;
        taken.map_err(failed_of(source, "take a snapshot to copy"))?;
        let from = format!("{}/{snapshot}", instance.name());
        let copied = self.copy_all(&from, &info, children).await;
        // A copy of a disk needs what it was made from no more, on every pool of the server's.
        let removed = match instance.delete_snapshot(&snapshot).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("remove the snapshot that was copied")(error)),
        };
        let done = copied.and_then(|made| removed.map(|()| made));
        let done = done.map_err(|error| error.after_all("copy the instance"));
        if done.is_err() {
            for child in children {
                if let Err(error) = self.delete(child.id).await {
                    tracing::warn!(id = %child.id, %error, "a copy is left that is not whole");
                }
            }
        }
        done
    }

    /// Takes a snapshot of a box. One that ran goes on, also when the server died in the middle of it and
    /// left it frozen.
    async fn take_of(
        &self,
        id: BoxId,
        instance: &Instance,
        before: &InstanceInfo,
        name: &str,
    ) -> Result<(), Error> {
        let Err(error) = take(instance, name).await else { return Ok(()) };
        if state::state(before) == TruthState::Running
            && matches!(instance.get().await, Ok(now) if state::state(&now) == TruthState::Suspended)
            && let Err(error) = self.known.change(id, StateChange::UNFREEZE).await
        {
            // Its next use thaws it.
            tracing::warn!(%id, %error, "a box was left frozen");
        }
        Err(error)
    }

    /// Removes what is left of a copy in the middle of which the server was lost. Whoever copies a box has
    /// it for itself, so that there is none that somebody needs.
    async fn remove_stale(&self, instance: &Instance) -> Result<(), Error> {
        for snapshot in instance.snapshots().await? {
            if snapshot.name.starts_with(TO_COPY) {
                instance.delete_snapshot(&snapshot.name).await?;
            }
        }
        Ok(())
    }

    async fn copy_all(
        &self,
        from: &str,
        source: &InstanceInfo,
        children: &[Child],
    ) -> Result<Vec<Made>, EngineError> {
        let ground = self.known.ground(&source.profiles).await?;
        let mut made = Vec::with_capacity(children.len());
        for child in children {
            let name = spec::name(&child.spec.name)?;
            // What the server finds in the source, and not here, it would copy.
            let mut config: BTreeMap<_, _> =
                marks::ALL.map(|mark| (mark.to_owned(), String::new())).into();
            config.extend(spec::config(child.id, &child.spec, &ground));
            config.extend(self.known.claims.mark(child.id));
            let mut devices = disks::without(&source.devices);
            devices.extend(spec::devices(&child.spec, &ground)?);
            let new = NewInstance {
                name: name.to_owned(),
                source: Source::copy(from),
                kind: source.kind,
                profiles: Some(source.profiles.clone()),
                architecture: source.architecture.clone(),
                // Where its blocks are.
                target: state::location(source),
                config,
                devices,
                ..NewInstance::default()
            };
            let step = format!("copy it to `{name}`");
            self.known.names.begins(child.id);
            let copied = async {
                let operation = self.known.client.create_instance(&new).await?;
                operation.wait().await?;
                self.known.is_called(child.id, name);
                match source.kind {
                    InstanceKind::Container => {
                        let copy = self.known.client.instance(name);
                        disks::let_go(&copy, &source.devices).await;
                        be_another(&copy, child.id).await
                    }
                    // The files of a machine that does not run are out of reach.
                    InstanceKind::VirtualMachine => Ok(()),
                }
            };
            copied.await.map_err(failed(step))?;
            let note = "a copy of a virtual machine has the machine id of its source";
            let notes = match source.kind {
                InstanceKind::Container => Vec::new(),
                InstanceKind::VirtualMachine => vec![note.to_owned()],
            };
            made.push(Made { notes, ..Made::default() });
        }
        Ok(made)
    }
}

/// Gives a copy an id of its own, where machines of its kind have one.
async fn be_another(instance: &Instance, as_box: BoxId) -> Result<(), Error> {
    let has = content(instance, MACHINE_ID, MACHINE_ID_LENGTH).await?;
    // One that is empty, the machine makes when it starts.
    if has.is_none_or(|id| id.trim_ascii().is_empty()) {
        return Ok(());
    }
    // Nobody else has that of the box, which has the length of one.
    let id = format!("{}\n", as_box.to_string().replace('-', ""));
    let meta = FileMeta { uid: 0, gid: 0, mode: 0o444 };
    instance.write_file(MACHINE_ID, NewFile::with(meta), id).await
}

/// Makes an instance what it was like `before` a snapshot of it was restored. The server puts back all
/// of it, its name for us and its limits too, and what is meant is the disk.
async fn keep(instance: &Instance, before: InstanceInfo) -> Result<(), Error> {
    let (now, tag) = instance.get_tagged().await?;
    // These are the server's own, and about the disk as it is now.
    let is_its_own = |key: &str| key.starts_with("volatile.");
    let restored = now.config.clone();
    let mut detached = now.devices.clone();
    detached.retain(|name, _| !before.devices.contains_key(name));
    disks::let_go(instance, &detached).await;
    let mut new = InstancePut::from(InstanceInfo { ephemeral: now.ephemeral, ..before });
    new.config.retain(|key, _| !is_its_own(key));
    new.config.extend(restored.into_iter().filter(|(key, _)| is_its_own(key)));
    if new == InstancePut::from(now) {
        return Ok(());
    }
    instance.put(&new, Some(&tag)).await?.wait().await.map(drop)
}

async fn take(instance: &Instance, name: &str) -> Result<(), Error> {
    let new = NewSnapshot { name: name.to_owned(), ..NewSnapshot::default() };
    instance.create_snapshot(&new).await?.wait().await.map(drop)
}

#[async_trait]
impl Snapshots for LxdEngine {
    async fn take(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.known.enter(id).await?;
        let (instance, info) = self.known.there(id).await?;
        let taken = self.take_of(id, &instance, &info, &snapshot.to_string()).await;
        taken.map_err(failed_of(id, "take a snapshot"))
    }

    async fn restore(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.known.enter(id).await?;
        let (instance, info) = self.known.there(id).await?;
        if !matches!(state::state(&info), TruthState::Stopped(_)) {
            return Err(EngineError::WrongState { op: "restore", found: "running" });
        }
        let restored = instance.restore(&snapshot.to_string(), false).await;
        restored.map_err(failed("restore the snapshot"))?;
        let kept = keep(&instance, info).await;
        kept.map_err(|error| failed("leave all but the disk as it was")(error).after_all("restore"))
    }

    async fn remove(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), EngineError> {
        self.known.enter(id).await?;
        let instance = self.known.there(id).await?.0;
        match instance.delete_snapshot(&snapshot.to_string()).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("remove the snapshot")(error)),
        }
    }

    async fn list(&self, id: BoxId) -> Result<Vec<SnapshotId>, EngineError> {
        let instance = self.known.there(id).await?.0;
        let all = instance.snapshots().await.map_err(failed_of(id, "list the snapshots"))?;
        Ok(all.iter().filter_map(|snapshot| snapshot.name.parse().ok()).collect())
    }
}
