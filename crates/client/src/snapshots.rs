//! Snapshots: saved boxes, to make others from.

use std::collections::BTreeMap;

use boxherd_boxd_api as api;

use crate::client::{Client, ask};
use crate::{BoxInfo, Error};

/// The caller's snapshots. One outlives the box that it was made of.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let snapshots = client.snapshots();
/// snapshots.create("web", "golden").await?;
/// let copy = snapshots.create_box("golden", Some("web-2"), &[("tier", "front")]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Snapshots {
    client: Client,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// For ever.
    pub id: String,
    /// Unique among the caller's.
    pub name: String,
    /// Which of those that were made with this name.
    pub version: u64,
    /// `ready`, or why it is not.
    pub status: String,
    /// At most this many processors; 0 where there is no limit.
    pub cpus: u32,
    /// At most this much memory, in bytes; 0 where there is no limit.
    pub memory: u64,
    /// When it was made, in milliseconds since 1970; 0 where the server does not say.
    pub created_ms: i64,
}

impl From<api::SnapshotInfo> for Snapshot {
    fn from(snapshot: api::SnapshotInfo) -> Self {
        Self {
            id: snapshot.snapshot_id,
            name: snapshot.name,
            version: snapshot.version,
            status: snapshot.status,
            cpus: snapshot.vcpu,
            memory: snapshot.memory_bytes,
            created_ms: snapshot.created_at,
        }
    }
}

impl Snapshots {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Saves a box as it is now.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.snapshots().create("web", "golden").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, of: &str, name: &str) -> Result<Snapshot, Error> {
        let asked = api::CreateSnapshotRequest { vm: of.to_owned(), name: name.to_owned() };
        let made = ask!(self.client, Changes, create_snapshot, asked)?;
        Ok(api::SnapshotInfo {
            snapshot_id: made.snapshot_id,
            name: made.name,
            version: made.version,
            status: made.status,
            ..api::SnapshotInfo::default()
        }
        .into())
    }

    /// Every snapshot.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} snapshots", client.snapshots().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Snapshot>, Error> {
        let listed =
            ask!(self.client, Looks, list_snapshots, api::ListSnapshotsRequest::default())?;
        Ok(listed.snapshots.into_iter().map(Snapshot::from).collect())
    }

    /// One snapshot, by its name.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{}", client.snapshots().get("golden").await?.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, name: &str) -> Result<Snapshot, Error> {
        let asked = api::GetSnapshotRequest { name: name.to_owned(), org: String::new() };
        let found = ask!(self.client, Looks, get_snapshot, asked)?.snapshot;
        found.map(Snapshot::from).ok_or_else(|| Error::server("the snapshot is not told"))
    }

    /// Makes a box of a snapshot. Without a name the server makes one up.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let copy = client.snapshots().create_box("golden", Some("web-2"), &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_box(
        &self,
        snapshot: &str,
        name: Option<&str>,
        labels: &[(&str, &str)],
    ) -> Result<BoxInfo, Error> {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        let asked = api::CreateVmFromSnapshotRequest {
            snapshot: snapshot.to_owned(),
            name: name.unwrap_or_default().to_owned(),
            labels: labels.collect(),
            ..api::CreateVmFromSnapshotRequest::default()
        };
        let made = ask!(self.client, Changes, create_vm_from_snapshot, asked)?;
        self.client.boxes().get(&made.vm_id).await
    }

    /// Removes a snapshot; boxes that were made of it stay.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.snapshots().remove("golden").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let asked = api::DeleteSnapshotRequest { name: name.to_owned(), org: String::new() };
        ask!(self.client, Changes, delete_snapshot, asked).map(drop)
    }
}
