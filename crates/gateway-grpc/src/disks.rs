//! Disks.

use boxherd_boxd_api as api;
use boxherd_herd::{Disk, HerdError, Volume};
use boxherd_model::ByteSize;

use crate::desk::Desk;
use crate::translate::{self, invalid};

type Answer<T> = Result<T, HerdError>;

pub(crate) async fn make(
    desk: &Desk<'_>,
    asked: api::CreateDiskRequest,
) -> Answer<api::CreateDiskResponse> {
    let name = translate::name("name", &asked.name)?;
    let engine = match asked.boxherd_engine.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|error| invalid("boxherd_engine", error))?),
    };
    let size = ByteSize::from_bytes(asked.size_bytes);
    let made = desk.herd.make_disk(engine.as_ref(), &name, size).await?;
    Ok(api::CreateDiskResponse {
        disk_id: made.id.to_string(),
        size_bytes: made.size.bytes(),
        status: status(&made).to_owned(),
        boxherd_engine: made.engine.to_string(),
        name: made.name,
    })
}

pub(crate) async fn list(
    desk: &Desk<'_>,
    _asked: api::ListDisksRequest,
) -> Answer<api::ListDisksResponse> {
    let disks = desk.herd.disks().await?;
    Ok(api::ListDisksResponse { disks: disks.into_iter().map(info).collect() })
}

pub(crate) async fn attach(
    desk: &Desk<'_>,
    asked: api::AttachDiskRequest,
) -> Answer<api::AttachDiskResponse> {
    let address = desk.address("vm_id", &asked.vm_id)?;
    let volume = volume(asked.disk_id, &asked.mount_path, asked.read_only)?;
    desk.herd.attach_disk(&address, &volume).await?;
    Ok(api::AttachDiskResponse {})
}

pub(crate) async fn detach(
    desk: &Desk<'_>,
    asked: api::DetachDiskRequest,
) -> Answer<api::DetachDiskResponse> {
    let address = desk.address("vm_id", &asked.vm_id)?;
    desk.herd.detach_disk(&address, &asked.disk_id).await?;
    Ok(api::DetachDiskResponse {})
}

pub(crate) async fn destroy(
    desk: &Desk<'_>,
    asked: api::DestroyDiskRequest,
) -> Answer<api::DestroyDiskResponse> {
    desk.herd.remove_disk(&asked.disk_id).await?;
    Ok(api::DestroyDiskResponse {})
}

/// The disks that a new box mounts from its first start on.
pub(crate) fn wanted(config: Option<&api::VmConfig>) -> Answer<Vec<Volume>> {
    let volumes = config.map(|config| config.volumes.as_slice()).unwrap_or_default();
    let one = |asked: &api::VolumeMount| {
        volume(asked.disk_id.clone(), &asked.mount_path, asked.read_only)
    };
    volumes.iter().map(one).collect()
}

fn volume(disk: String, path: &str, read_only: bool) -> Answer<Volume> {
    let path = path.parse().map_err(|error| invalid("mount_path", error))?;
    Ok(Volume { disk, path, read_only })
}

/// The wire's word: attached or not, a disk is `ready` once it is made.
const fn status(disk: &Disk) -> &'static str {
    if disk.ready { "ready" } else { "creating" }
}

fn info(disk: Disk) -> api::DiskInfo {
    let status = status(&disk).to_owned();
    let attachments = disk.attached.into_iter().map(|attached| api::DiskAttachment {
        vm_id: attached.to.to_string(),
        vm_name: attached.name,
        mount_path: attached.path.to_string(),
        mount_mode: if attached.read_only { "ro" } else { "rw" }.to_owned(),
    });
    api::DiskInfo {
        disk_id: disk.id.to_string(),
        name: disk.name,
        size_bytes: disk.size.bytes(),
        status,
        worker_id: disk.engine.to_string(),
        attachments: attachments.collect(),
        created_at: translate::seconds(disk.created),
    }
}
