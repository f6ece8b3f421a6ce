//! Snapshots: saved boxes of a user, to make others from.

use boxherd_boxd_api as api;
use boxherd_herd::{HerdError, Saved};
use boxherd_model::ByteSize;

use crate::desk::Desk;
use crate::translate::{self, invalid};

type Answer<T> = Result<T, HerdError>;

/// There is nothing to wait for.
const READY: &str = "ready";

pub(crate) async fn save(
    desk: &Desk<'_>,
    asked: api::CreateSnapshotRequest,
) -> Answer<api::CreateSnapshotResponse> {
    let address = desk.address("vm", &asked.vm)?;
    let name = asked.name.parse().map_err(|error| invalid("name", error))?;
    let saved = desk.herd.save(&address, &name).await?;
    Ok(api::CreateSnapshotResponse {
        snapshot_id: saved.id.to_string(),
        name: saved.name,
        version: saved.version,
        status: READY.to_owned(),
        paused_automations: 0,
    })
}

fn told(saved: Saved) -> api::SnapshotInfo {
    let limits = saved.copy.spec.limits;
    api::SnapshotInfo {
        snapshot_id: saved.id.to_string(),
        name: saved.name,
        version: saved.version,
        status: READY.to_owned(),
        // In milliseconds, other than those of boxes and keys.
        updated_at: saved.created.millis(),
        created_at: saved.created.millis(),
        vcpu: limits.cpus.map_or(0, |cpus| cpus.millis().div_ceil(1000)),
        memory_bytes: limits.memory.map_or(0, ByteSize::bytes),
        ..api::SnapshotInfo::default()
    }
}

fn own(org: &str) -> Answer<()> {
    match org {
        "" => Ok(()),
        _ => Err(invalid("org", "this server does not offer it")),
    }
}

pub(crate) async fn list(
    desk: &Desk<'_>,
    asked: api::ListSnapshotsRequest,
) -> Answer<api::ListSnapshotsResponse> {
    own(&asked.org)?;
    let snapshots = desk.herd.saved().await?.into_iter().map(told).collect();
    Ok(api::ListSnapshotsResponse { snapshots })
}

pub(crate) async fn get(
    desk: &Desk<'_>,
    asked: api::GetSnapshotRequest,
) -> Answer<api::GetSnapshotResponse> {
    own(&asked.org)?;
    let snapshot = Some(told(desk.herd.saved_as(&asked.name).await?));
    Ok(api::GetSnapshotResponse { snapshot })
}

pub(crate) async fn remove(
    desk: &Desk<'_>,
    asked: api::DeleteSnapshotRequest,
) -> Answer<api::DeleteSnapshotResponse> {
    own(&asked.org)?;
    desk.herd.remove_saved(&asked.name).await?;
    Ok(api::DeleteSnapshotResponse {})
}

pub(crate) async fn create_box(
    desk: &Desk<'_>,
    asked: api::CreateVmFromSnapshotRequest,
) -> Answer<api::CreateVmResponse> {
    own(&asked.org)?;
    if asked.config.as_ref().is_some_and(|config| *config != api::VmConfig::default()) {
        return Err(invalid(
            "config",
            "a box has the sizes of what it is made from; resize it then",
        ));
    }
    if asked.isolated {
        return Err(invalid("isolated", "a box has the network of what it is made from"));
    }
    if asked.spec.as_ref().is_some_and(|spec| *spec != api::MachineSpec::default()) {
        return Err(invalid("spec", "this server does not offer it"));
    }
    let labels = translate::labels(&asked.labels)?;
    let name = match asked.name.as_str() {
        "" => desk.herd.suggest_name(),
        name => translate::name("name", name)?,
    };
    let made = desk.herd.create_from_saved(&asked.snapshot, name).await?;
    desk.about(made.id);
    if !labels.is_empty() {
        desk.herd.label(&made.address(), labels, Vec::new()).await?;
    }
    let label = desk.herd.label_of(made.id).await?;
    Ok(translate::created(&made, &label, desk.config))
}
