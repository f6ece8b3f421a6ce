//! Boxes, here or on a server: what commands ask for that work for both.

use boxherd_engine::{EngineError, Usage};
use boxherd_herd::{Create, Fork, Herd};
use boxherd_link::ExecRequest;
use boxherd_model::{Address, BoxName, BoxStatus, Labels, SnapshotInfo, SnapshotName};

use crate::commands::Shown;
use crate::failure::Failure;
use crate::process::{Here, Process};
use crate::remote::{Change, Remote};

/// Whom a command asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Boxes<'a> {
    /// The herd of this data folder.
    Here(&'a Herd),
    /// A server.
    There(&'a Remote),
}

impl Boxes<'_> {
    /// Every box, and which engines do not answer.
    pub(crate) async fn list(self) -> Result<(Vec<BoxStatus>, Vec<String>), Failure> {
        match self {
            Self::Here(herd) => {
                let listing = herd.list().await?;
                let told = listing.unreachable.into_iter().map(|(engine, reason)| {
                    let verb = match &reason {
                        EngineError::Unreachable { .. } => "does not answer",
                        _ => "cannot be used",
                    };
                    format!("engine `{engine}` {verb}: {}", Failure::from(reason).message())
                });
                Ok((listing.boxes, told.collect()))
            }
            Self::There(remote) => Ok((remote.list().await?, Vec::new())),
        }
    }

    pub(crate) async fn show(self, address: &Address) -> Result<BoxStatus, Failure> {
        match self {
            Self::Here(herd) => Ok(herd.show(address).await?),
            Self::There(remote) => Ok(remote.shown(address).await?.status),
        }
    }

    /// With what it uses.
    pub(crate) async fn shown(self, address: &Address) -> Result<Shown, Failure> {
        let herd = match self {
            Self::Here(herd) => herd,
            Self::There(remote) => return remote.shown(address).await,
        };
        let status = herd.show(address).await?;
        let is_measured = status.state.is_measured() && !status.unreachable;
        let usage = if is_measured { Some(herd.usage(address).await?) } else { None };
        Ok(Shown { status, usage })
    }

    /// What a box uses; nothing of one that is not measured.
    pub(crate) async fn usage(self, address: &Address) -> Result<Usage, Failure> {
        match self {
            Self::Here(herd) => Ok(herd.usage(address).await?),
            Self::There(remote) => Ok(remote.shown(address).await?.usage.unwrap_or_default()),
        }
    }

    pub(crate) async fn create(self, create: Create) -> Result<BoxStatus, Failure> {
        match self {
            Self::Here(herd) => Ok(herd.create(create).await?),
            Self::There(remote) => remote.create(create).await,
        }
    }

    pub(crate) async fn change(
        self,
        address: &Address,
        change: Change,
    ) -> Result<BoxStatus, Failure> {
        let herd = match self {
            Self::Here(herd) => herd,
            Self::There(remote) => return remote.change(address, change).await,
        };
        Ok(match change {
            Change::Start => herd.start(address).await?,
            Change::Stop(grace) => herd.stop(address, grace).await?,
            Change::Restart(grace) => herd.restart(address, grace).await?,
            Change::Suspend => herd.suspend(address).await?,
            Change::Resume => herd.resume(address).await?,
            Change::Hibernate => herd.hibernate(address).await?,
            Change::Rename(name) => herd.rename(address, name).await?,
        })
    }

    pub(crate) async fn label(
        self,
        address: &Address,
        set: Labels,
        remove: Vec<String>,
    ) -> Result<BoxStatus, Failure> {
        match self {
            Self::Here(herd) => Ok(herd.label(address, set, remove).await?),
            Self::There(remote) => remote.label(address, &set, &remove).await,
        }
    }

    pub(crate) async fn delete(self, address: &Address) -> Result<(), Failure> {
        match self {
            Self::Here(herd) => Ok(herd.delete(address).await?),
            Self::There(remote) => remote.delete(address).await,
        }
    }

    pub(crate) async fn fork(
        self,
        address: &Address,
        names: Vec<BoxName>,
        live: bool,
    ) -> Result<Vec<BoxStatus>, Failure> {
        match self {
            Self::Here(herd) => Ok(herd.fork(address, Fork { names, live }).await?),
            Self::There(remote) => remote.fork(address, &names, live).await,
        }
    }

    pub(crate) async fn suggest_name(self) -> Result<BoxName, Failure> {
        match self {
            Self::Here(herd) => Ok(herd.suggest_name()),
            Self::There(remote) => remote.suggest_name().await,
        }
    }

    pub(crate) async fn exec(
        self,
        address: &Address,
        request: ExecRequest,
    ) -> Result<Process, Failure> {
        match self {
            Self::Here(herd) => {
                let (found, _awake) = herd.keep_awake(address).await?;
                let (of, name) = (found.id(), address.to_string());
                let exec = herd.exec_in(found, request).await?;
                Ok(Process::Here(Here { exec, herd: herd.clone(), of, name }.into()))
            }
            Self::There(remote) => Ok(Process::There(remote.exec(address, request).await?.into())),
        }
    }

    pub(crate) async fn take_snapshot(
        self,
        address: &Address,
        name: &SnapshotName,
    ) -> Result<SnapshotInfo, Failure> {
        match self {
            Self::Here(herd) => Ok(herd.take_snapshot(address, name).await?),
            Self::There(remote) => remote.take_snapshot(address, name).await,
        }
    }

    pub(crate) async fn snapshots(self, address: &Address) -> Result<Vec<SnapshotInfo>, Failure> {
        match self {
            Self::Here(herd) => Ok(herd.snapshots(address).await?),
            Self::There(remote) => remote.snapshots(address).await,
        }
    }

    pub(crate) async fn restore_snapshot(
        self,
        address: &Address,
        name: &SnapshotName,
    ) -> Result<BoxStatus, Failure> {
        match self {
            Self::Here(herd) => Ok(herd.restore_snapshot(address, name).await?),
            Self::There(remote) => remote.restore_snapshot(address, name).await,
        }
    }

    pub(crate) async fn remove_snapshot(
        self,
        address: &Address,
        name: &SnapshotName,
    ) -> Result<(), Failure> {
        match self {
            Self::Here(herd) => Ok(herd.remove_snapshot(address, name).await.map(drop)?),
            Self::There(remote) => remote.remove_snapshot(address, name).await,
        }
    }
}
