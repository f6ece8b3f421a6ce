//! Disks as volumes, and whose they are.

use std::collections::{BTreeMap, HashSet};

use boxherd_engine::{DiskTruth, EngineError};
use boxherd_lxd_client::{Devices, Error, Etag, InstanceInfo, NewVolume, Volume};
use boxherd_model::{BoxId, ByteSize, DiskId, DiskMount};

use crate::error::failed;
use crate::marks::{ID, INSTALLATION};
use crate::server::{Known, LIST};

/// Which box has it, and how, as JSON. One that was deleted has it no more, whatever stands here.
const ATTACHED: &str = "user.boxherd.attached";
/// How volumes are called, and the devices that mount them.
const PREFIX: &str = "boxherd-";
/// What is done to read one.
const LOOK: &str = "look at the disk";

/// Who has a disk, and how.
pub(super) type Attached = (BoxId, DiskMount);

/// What of the name of a volume every pool keeps, whatever it makes of dashes.
pub(super) fn digits(disk: DiskId) -> String {
    disk.to_string().replace('-', "")
}

/// What the volume of a disk is called, and its device.
pub(super) fn device(disk: DiskId) -> String {
    format!("{PREFIX}{}", digits(disk))
}

/// The disk whose device is called so.
pub(super) fn disk_of(device: &str) -> Option<DiskId> {
    device.strip_prefix(PREFIX)?.parse().ok()
}

/// Whether an instance has the device of a disk.
pub(super) fn has(info: &InstanceInfo, disk: DiskId) -> bool {
    info.devices.get(&device(disk)).is_some_and(|options| options.contains_key("source"))
}

/// What keeps the devices of disks from a copy: the server would copy what it is told nothing of.
pub(crate) fn without(devices: &Devices) -> Devices {
    let disks = devices.keys().filter(|name| disk_of(name).is_some());
    disks.map(|name| (name.clone(), [("type".to_owned(), "none".to_owned())].into())).collect()
}

/// Whether a device is that of a disk.
pub(crate) fn is_disk(device: &str) -> bool {
    disk_of(device).is_some()
}

/// Who has a disk, if the box is still there.
pub(super) fn attached(volume: &Volume) -> Option<Attached> {
    serde_json::from_str(volume.config.get(ATTACHED)?).ok()
}

/// That a box has it.
pub(super) fn in_use(disk: DiskId, to: BoxId, mount: &DiskMount) -> EngineError {
    EngineError::DiskInUse { disk, reason: format!("box {to} has it at `{}`", mount.path) }
}

fn used_by(disk: DiskId, user: &str) -> EngineError {
    EngineError::DiskInUse { disk, reason: format!("`{user}` of the server has it") }
}

/// Whether the path of a thing of the server's is that of an instance.
fn is_instance(user: &str, name: &str) -> bool {
    let path = user.split('?').next().unwrap_or_default();
    path.strip_prefix("/1.0/instances/") == Some(name)
}

impl Known {
    /// The pool that disks are in.
    pub(super) async fn disk_pool(&self) -> Result<String, EngineError> {
        let none = || EngineError::refused(LOOK, "the server's profile has no root disk");
        self.pool().await?.ok_or_else(none)
    }

    fn is_ours(&self, volume: &Volume) -> bool {
        volume.config.get(INSTALLATION) == Some(&self.settings.installation)
    }

    pub(super) async fn make_volume(
        &self,
        disk: DiskId,
        size: ByteSize,
    ) -> Result<(), EngineError> {
        let config = [
            ("size", format!("{}B", size.bytes())),
            (INSTALLATION, self.settings.installation.clone()),
            (ID, disk.to_string()),
        ];
        let config = config.map(|(key, value)| (key.to_owned(), value)).into();
        let new = NewVolume { name: device(disk), config };
        let made = self.client.create_volume(&self.disk_pool().await?, &new).await;
        made.map_err(failed("make the volume"))
    }

    /// The volume of a disk, if this installation made it.
    pub(super) async fn volume(&self, disk: DiskId) -> Result<Option<(Volume, Etag)>, EngineError> {
        match self.client.volume(&self.disk_pool().await?, &device(disk)).await {
            Ok((volume, tag)) => Ok(self.is_ours(&volume).then_some((volume, tag))),
            Err(error @ Error::NotFound { .. }) => {
                self.no_project_of(&error).await.map_or(Ok(None), Err)
            }
            Err(error) => Err(self.failed(LOOK, error).await),
        }
    }

    pub(super) async fn delete_volume(&self, disk: DiskId) -> Result<(), EngineError> {
        match self.client.delete_volume(&self.disk_pool().await?, &device(disk)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => {
                // The server deletes none that has a user, also one that nobody else knows of.
                let volume = self.volume(disk).await?.map(|(volume, _)| volume).unwrap_or_default();
                Err(match volume.used_by.first() {
                    Some(user) => used_by(disk, user),
                    None => failed("delete the volume")(error),
                })
            }
        }
    }

    /// Writes down that a box, the instance of that name, has a disk.
    pub(super) async fn take_volume(
        &self,
        disk: DiskId,
        wanted: &Attached,
        instance: &str,
    ) -> Result<(), EngineError> {
        let text = serde_json::to_string(wanted).expect("a mount is JSON");
        loop {
            let (volume, tag) = self.volume(disk).await?.ok_or(EngineError::NoSuchDisk(disk))?;
            match attached(&volume) {
                Some(had) if had == *wanted => return Ok(()),
                Some((to, mount)) if to == wanted.0 || self.info(to).await?.is_some() => {
                    return Err(in_use(disk, to, &mount));
                }
                _ => {}
            }
            if let Some(user) = volume.used_by.iter().find(|user| !is_instance(user, instance)) {
                return Err(used_by(disk, user));
            }
            if self.mark_volume(disk, &text, &tag).await? {
                return Ok(());
            }
        }
    }

    /// That a disk is still whose it was.
    pub(super) async fn check_volume(&self, wanted: &Attached) -> Result<(), EngineError> {
        let disk = wanted.1.disk;
        let (volume, _) = self.volume(disk).await?.ok_or(EngineError::NoSuchDisk(disk))?;
        match attached(&volume) {
            Some(had) if had == *wanted => Ok(()),
            Some((to, mount)) => Err(in_use(disk, to, &mount)),
            None => Err(EngineError::DiskInUse {
                disk,
                reason: "somebody else has just given it back".to_owned(),
            }),
        }
    }

    /// Writes down that nobody has a disk, if it is still whose it was.
    pub(super) async fn give_volume_back(&self, had: &Attached) -> Result<(), EngineError> {
        let disk = had.1.disk;
        while let Some((volume, tag)) = self.volume(disk).await?
            && attached(&volume).as_ref() == Some(had)
            && !self.mark_volume(disk, "", &tag).await?
        {}
        Ok(())
    }

    /// Writes down who has a disk; whether it was still what had been read.
    async fn mark_volume(&self, disk: DiskId, text: &str, tag: &Etag) -> Result<bool, EngineError> {
        let config = BTreeMap::from([(ATTACHED.to_owned(), text.to_owned())]);
        let pool = self.disk_pool().await?;
        match self.client.patch_volume(&pool, &device(disk), &config, tag).await {
            Ok(()) => Ok(true),
            Err(Error::Changed { .. } | Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("write down who has the disk")(error)),
        }
    }

    /// Every disk of this installation.
    pub(super) async fn list_volumes(&self) -> Result<Vec<DiskTruth>, EngineError> {
        let listed = self.client.volumes(&self.disk_pool().await?).await;
        let volumes = match listed {
            Ok(volumes) => volumes,
            Err(error) => return Err(self.failed("list the disks", error).await),
        };
        if volumes.is_empty() {
            self.check_project().await?;
        }
        let ours = volumes.iter().filter(|volume| self.is_ours(volume));
        let disks = ours.filter_map(|volume| {
            let id = volume.config.get(ID)?.parse().ok()?;
            Some(DiskTruth { id, attached: attached(volume) })
        });
        let mut disks: Vec<_> = disks.collect();
        if disks.iter().any(|disk| disk.attached.is_some()) {
            self.forget_deleted(&mut disks).await?;
        }
        disks.sort_unstable_by_key(|disk| disk.id);
        Ok(disks)
    }

    /// Forgets of disks that boxes have them that are gone.
    async fn forget_deleted(&self, disks: &mut [DiskTruth]) -> Result<(), EngineError> {
        let all = match self.client.instances().await {
            Ok(all) => all,
            Err(error) => return Err(self.failed(LIST, error).await),
        };
        // Of what members have that do not answer nobody knows which box it is.
        if all.iter().any(InstanceInfo::is_lost) {
            return Ok(());
        }
        let boxes: HashSet<_> = self.boxes(all.iter()).into_values().collect();
        for disk in disks {
            disk.attached.take_if(|(to, _)| !boxes.contains(to));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_known_by_the_name_of_its_device() {
        let disk = DiskId::new();
        assert_eq!(disk_of(&device(disk)), Some(disk));
        assert!(["root", "boxherd-", "boxherd-data"].into_iter().all(|name| !is_disk(name)));
    }

    #[test]
    fn copies_have_all_devices_but_disks() {
        let disk = device(DiskId::new());
        let some = || [("type".to_owned(), "disk".to_owned())].into();
        let devices = Devices::from([("root".to_owned(), some()), (disk.clone(), some())]);
        let left_out = without(&devices);
        assert_eq!(left_out.len(), 1);
        assert_eq!(left_out[&disk]["type"], "none");
        let info = InstanceInfo { devices: left_out, ..InstanceInfo::default() };
        assert!(!has(&info, disk_of(&disk).unwrap()), "what says that there is none is none");
    }

    #[test]
    fn who_has_a_disk_is_read_as_it_is_written() {
        let path = "/srv/my data".parse().unwrap();
        let had = (BoxId::new(), DiskMount { disk: DiskId::new(), path, read_only: true });
        let text = serde_json::to_string(&had).unwrap();
        let volume = |text: &str| Volume {
            config: [(ATTACHED.to_owned(), text.to_owned())].into(),
            ..Volume::default()
        };
        assert_eq!(attached(&volume(&text)), Some(had));
        assert_eq!(attached(&volume("")), None);
        assert_eq!(attached(&Volume::default()), None);
    }

    #[test]
    fn users_of_a_volume_are_told_apart() {
        assert!(is_instance("/1.0/instances/web", "web"));
        assert!(is_instance("/1.0/instances/web?project=team", "web"));
        assert!(!is_instance("/1.0/instances/web2", "web"));
        assert!(!is_instance("/1.0/profiles/web", "web"));
    }
}
