//! Disks of their own: custom volumes of the server's pool, as devices of instances.
//!
//! Who has a disk stands at its volume ([`volume`]), which is changed by whoever has read it last: of two
//! who take it at once one wins. The device makes the server mount it, now and at each start. Where in
//! the box that is, the box's own files say ([`place`]); that nobody uses it any more, its mounts do
//! ([`mounts`]), which the server itself does not ask: it takes away what is in use. What a box says there
//! is about itself alone.

mod mounts;
mod place;
mod volume;

use std::collections::BTreeMap;

use async_trait::async_trait;
use boxherd_engine::{DiskTruth, Disks, EngineError, TruthState, Unsupported};
use boxherd_lxd_client::{Devices, Error, Instance, InstanceInfo, InstancePut, StateChange};
use boxherd_model::{BoxId, ByteSize, Capability, DiskId, DiskMount};

pub(crate) use volume::{is_disk, without};

use self::place::Place;
use self::volume::{Attached, device, disk_of, has, in_use};
use crate::changes::when_idle;
use crate::engine::LxdEngine;
use crate::error::failed_of;
use crate::server::Facts;
use crate::{machine, state};

/// Pools that hold what is in them to a size.
pub(crate) const WITH_QUOTAS: [&str; 4] = ["btrfs", "zfs", "lvm", "ceph"];
/// The one of them that all members of a cluster have together.
pub(crate) const OF_ALL_MEMBERS: &str = "ceph";

/// Why disks are not offered on such a server; `None` when they are.
pub(crate) fn why_not(facts: &Facts) -> Option<String> {
    match facts.pool_driver.as_deref() {
        None => Some(
            "it is not known whether the server's pool holds volumes to their sizes; `boxherd engine \
             check` looks again"
                .to_owned(),
        ),
        Some(driver) if !WITH_QUOTAS.contains(&driver) => {
            Some(format!("pools of the kind `{driver}` do not hold volumes to their sizes"))
        }
        Some(driver) if facts.clustered && driver != OF_ALL_MEMBERS => Some(format!(
            "a volume of a pool of the kind `{driver}` is on one member of the cluster, and boxes are on \
             any"
        )),
        Some(_) => None,
    }
}

#[async_trait]
impl Disks for LxdEngine {
    async fn make(&self, disk: DiskId, size: ByteSize) -> Result<(), EngineError> {
        self.known.make_volume(disk, size).await
    }

    async fn remove(&self, disk: DiskId) -> Result<(), EngineError> {
        let Some((volume, _)) = self.known.volume(disk).await? else { return Ok(()) };
        if let Some((to, mount)) = volume::attached(&volume)
            && self.known.info(to).await?.is_some()
        {
            return Err(in_use(disk, to, &mount));
        }
        self.known.delete_volume(disk).await
    }

    async fn attach(&self, id: BoxId, mount: &DiskMount) -> Result<(), EngineError> {
        self.known.enter(id).await?;
        let disk = mount.disk;
        let found = self.known.volume(disk).await?;
        let (volume, _) = found.ok_or(EngineError::NoSuchDisk(disk))?;
        let (instance, info) = self.known.there(id).await?;
        if machine::is_machine(&info) {
            let reason = "virtual machines are given no volumes here".to_owned();
            let capability = Capability::Disks;
            return Err(Unsupported { op: "attach", capability, reason }.into());
        }
        let wanted = (id, mount.clone());
        if has(&info, disk) && volume::attached(&volume).as_ref() == Some(&wanted) {
            return Ok(());
        }
        // Nothing is changed before it is known to be possible.
        let place = Place::find(&instance, &info, &mount.path).await?;
        self.known.take_volume(disk, &wanted, instance.name()).await?;
        let put = self.put_device(&instance, &place, &wanted).await;
        if put.is_err() {
            self.undo(&wanted).await;
        }
        put
    }

    async fn detach(&self, id: BoxId, disk: DiskId) -> Result<(), EngineError> {
        self.known.enter(id).await?;
        let Some((volume, _)) = self.known.volume(disk).await? else { return Ok(()) };
        let had = volume::attached(&volume).filter(|(to, _)| *to == id);
        if let Some((instance, info)) = self.known.info(id).await? {
            if has(&info, disk) {
                self.take_away(id, &instance, &info, disk).await?;
            } else if let Some((_, mount)) = &had {
                // By a call that was cut off, perhaps before its end.
                place::let_go(&instance, mount.path.as_str()).await;
            }
        }
        match had {
            Some(had) => self.known.give_volume_back(&had).await,
            None => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<DiskTruth>, EngineError> {
        self.known.list_volumes().await
    }
}

impl LxdEngine {
    /// Has the server mount a disk that is the box's by now.
    async fn put_device(
        &self,
        instance: &Instance,
        place: &Place,
        wanted: &Attached,
    ) -> Result<(), EngineError> {
        let (id, mount) = wanted;
        place.make(instance, *id).await?;
        place::hold(instance, place.path()).await;
        let pool = self.known.disk_pool().await?;
        let mut options = BTreeMap::from(
            [
                ("type", "disk"),
                ("pool", &pool),
                ("source", &device(mount.disk)),
                ("path", place.path()),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        if mount.read_only {
            options.insert("readonly".to_owned(), "true".to_owned());
        }
        let devices = Devices::from([(device(mount.disk), options)]);
        let change = serde_json::json!({ "devices": devices });
        let put = when_idle(|| instance.patch(&change)).await;
        put.map_err(failed_of(*id, "mount the disk"))?;
        // The server may have let another through in the same moment, who wrote last.
        self.known.check_volume(wanted).await
    }

    /// Leaves nothing attached of what could not be.
    async fn undo(&self, wanted: &Attached) {
        let (id, mount) = wanted;
        let undone = async {
            if let Some((instance, info)) = self.known.info(*id).await?
                && has(&info, mount.disk)
            {
                self.take_away(*id, &instance, &info, mount.disk).await?;
            }
            self.known.give_volume_back(wanted).await
        };
        if let Err(error) = undone.await {
            tracing::warn!(%id, disk = %mount.disk, %error, "a disk is left half attached");
        }
    }

    /// Takes a disk off an instance that has it, unless a process there uses it.
    async fn take_away(
        &self,
        id: BoxId,
        instance: &Instance,
        info: &InstanceInfo,
        disk: DiskId,
    ) -> Result<(), EngineError> {
        let mut places = self.unmount(id, instance, info, disk).await?;
        places.extend(path_of(info, disk).cloned());
        places.dedup();
        if !matches!(state::state(info), TruthState::Stopped(_)) {
            for place in &places {
                place::hold(instance, place).await;
            }
        }
        let taken = take_off(instance, disk).await;
        for place in &places {
            place::let_go(instance, place).await;
        }
        taken.map_err(failed_of(id, "take the disk off the instance"))
    }

    /// Takes all disks off an instance that is to be somebody else's again, which loses them in any case.
    pub(crate) async fn take_all_away(&self, id: BoxId, instance: &Instance, info: &InstanceInfo) {
        for disk in info.devices.keys().filter_map(|name| disk_of(name)) {
            if has(info, disk)
                && let Err(error) = self.take_away(id, instance, info, disk).await
            {
                tracing::warn!(%id, %disk, %error, "a disk is unmounted under who uses it");
            }
        }
    }

    /// Unmounts a disk in a box that has processes, unless one of them uses it; where it was.
    async fn unmount(
        &self,
        id: BoxId,
        instance: &Instance,
        info: &InstanceInfo,
        disk: DiskId,
    ) -> Result<Vec<String>, EngineError> {
        let has_no_name = self.known.settings.facts.pool_driver.as_deref() == Some(OF_ALL_MEMBERS);
        let by_path = path_of(info, disk).filter(|_| has_no_name);
        match state::state(info) {
            TruthState::Running => mounts::unmount(instance, disk, by_path).await,
            // Programs of a box that stands still do, too: it goes on for the moment that they take.
            TruthState::Suspended => {
                self.known.change(id, StateChange::UNFREEZE).await?;
                let unmounted = mounts::unmount(instance, disk, by_path).await;
                self.known.freeze(id).await?;
                unmounted
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// Where the server mounts a disk that an instance has.
fn path_of(info: &InstanceInfo, disk: DiskId) -> Option<&String> {
    info.devices.get(&device(disk))?.get("path")
}

/// Lets go of the folders below disks that an instance has not, and what it is a copy of had.
pub(crate) async fn let_go(instance: &Instance, had: &Devices) {
    let disks = had.iter().filter(|(name, _)| volume::is_disk(name));
    for place in disks.filter_map(|(_, options)| options.get("path")) {
        place::let_go(instance, place).await;
    }
}

/// Takes the device of a disk off an instance, which unmounts what is still mounted.
async fn take_off(instance: &Instance, disk: DiskId) -> Result<(), Error> {
    loop {
        let (info, tag) = instance.get_tagged().await?;
        if !has(&info, disk) {
            return Ok(());
        }
        let mut new = InstancePut::from(info);
        new.devices.remove(&device(disk));
        let put = async || instance.put(&new, Some(&tag)).await?.wait().await;
        match when_idle(put).await {
            Ok(_) => return Ok(()),
            Err(Error::Changed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_offered_where_their_sizes_hold_and_every_box_reaches_them() {
        let why = |driver: Option<&str>, clustered| {
            let pool_driver = driver.map(str::to_owned);
            why_not(&Facts { pool_driver, clustered, ..Facts::default() })
        };
        assert_eq!(why(Some("btrfs"), false), None);
        assert_eq!(why(Some("ceph"), true), None);
        assert!(why(Some("dir"), false).unwrap().contains("`dir`"));
        assert!(why(Some("zfs"), true).unwrap().contains("one member"));
        assert!(why(None, false).unwrap().contains("engine check"));
    }
}
