//! Snapshots of a box, which the wire calls checkpoints.

use boxherd_client::Checkpoint;
use boxherd_herd::HerdError;
use boxherd_model::policy;
use boxherd_model::{Address, BoxId, BoxStatus, Request, SnapshotInfo, SnapshotName, Timestamp};

use super::{Remote, shown};
use crate::failure::Failure;

impl Remote {
    pub(crate) async fn take_snapshot(
        &self,
        address: &Address,
        name: &SnapshotName,
    ) -> Result<SnapshotInfo, Failure> {
        let status = self.shown(address).await?.status;
        let checkpoints = self.client().await?.checkpoints(status.id.to_string());
        let made = checkpoints.create(name.as_str()).await?;
        let kept = checkpoints.list().await?.into_iter().find(|kept| kept.id == made.id);
        info(kept.unwrap_or(made), status.id)
    }

    pub(crate) async fn snapshots(&self, address: &Address) -> Result<Vec<SnapshotInfo>, Failure> {
        let of = self.shown(address).await?.status.id;
        let kept = self.client().await?.checkpoints(of.to_string()).list().await?;
        kept.into_iter().map(|kept| info(kept, of)).collect()
    }

    /// Only of a box that has stopped, as it is here: a server would start one that runs again,
    /// without what it had in memory.
    pub(crate) async fn restore_snapshot(
        &self,
        address: &Address,
        name: &SnapshotName,
    ) -> Result<BoxStatus, Failure> {
        let status = self.shown(address).await?.status;
        let request = Request::Restore;
        policy::decide(status.state, request).map_err(|refusal| {
            let name = status.spec.name.to_string();
            Failure::from(HerdError::Refused { name, request, refusal })
        })?;
        let client = self.client().await?;
        let of = status.id.to_string();
        client.checkpoints(&of).restore(name.as_str()).await?;
        Ok(shown(&client.boxes().get(&of).await?)?.status)
    }

    pub(crate) async fn remove_snapshot(
        &self,
        address: &Address,
        name: &SnapshotName,
    ) -> Result<(), Failure> {
        let checkpoints = self.client().await?.checkpoints(address.to_string());
        Ok(checkpoints.remove(name.as_str()).await?)
    }
}

fn info(kept: Checkpoint, box_id: BoxId) -> Result<SnapshotInfo, Failure> {
    let unclear = |error: &dyn std::error::Error| Failure::of(error, "protocol", None);
    Ok(SnapshotInfo {
        id: kept.id.parse().map_err(|error| unclear(&error))?,
        name: kept.name.parse().map_err(|error| unclear(&error))?,
        box_id,
        created: Timestamp::from_millis(kept.created_ms),
    })
}
