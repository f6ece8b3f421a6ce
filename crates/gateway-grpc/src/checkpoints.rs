//! Checkpoints: saved disks of one box.

use std::time::Duration;

use boxherd_boxd_api as api;
use boxherd_herd::HerdError;
use boxherd_model::SnapshotName;

use crate::desk::Desk;
use crate::translate::invalid;

type Answer<T> = Result<T, HerdError>;

/// How long a box that is stopped may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// There is nothing to wait for.
const READY: &str = "ready";

fn name(text: &str) -> Answer<SnapshotName> {
    text.parse().map_err(|error| invalid("name", error))
}

pub(crate) async fn take(
    desk: &Desk<'_>,
    asked: api::CreateCheckpointRequest,
) -> Answer<api::CreateCheckpointResponse> {
    let address = desk.address("vm", &asked.vm)?;
    let taken = desk.herd.take_snapshot(&address, &name(&asked.name)?).await?;
    desk.about(taken.box_id);
    Ok(api::CreateCheckpointResponse {
        checkpoint_id: taken.id.to_string(),
        name: taken.name.to_string(),
        status: READY.to_owned(),
    })
}

pub(crate) async fn list(
    desk: &Desk<'_>,
    asked: api::ListCheckpointsRequest,
) -> Answer<api::ListCheckpointsResponse> {
    let taken = desk.herd.snapshots(&desk.address("vm", &asked.vm)?).await?;
    let checkpoints = taken.into_iter().map(|taken| api::CheckpointInfo {
        checkpoint_id: taken.id.to_string(),
        name: taken.name.to_string(),
        status: READY.to_owned(),
        // In milliseconds, other than those of boxes and keys.
        created_at: taken.created.millis(),
        available: true,
        ..api::CheckpointInfo::default()
    });
    Ok(api::ListCheckpointsResponse { checkpoints: checkpoints.collect() })
}

pub(crate) async fn remove(
    desk: &Desk<'_>,
    asked: api::DeleteCheckpointRequest,
) -> Answer<api::DeleteCheckpointResponse> {
    desk.herd.remove_snapshot(&desk.address("vm", &asked.vm)?, &name(&asked.name)?).await?;
    Ok(api::DeleteCheckpointResponse {})
}

pub(crate) async fn restore(
    desk: &Desk<'_>,
    asked: api::RestoreCheckpointRequest,
) -> Answer<api::RestoreCheckpointResponse> {
    let address = desk.address("vm", &asked.vm)?;
    let status = desk.herd.go_back(&address, &name(&asked.name)?, GRACE).await?;
    desk.about(status.id);
    Ok(api::RestoreCheckpointResponse {})
}
