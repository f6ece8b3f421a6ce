//! Disks: filesystems of their own that boxes mount while they run.

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// The caller's disks. A disk is named by its name or id, and so is a box.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let disks = client.disks();
/// let data = disks.create("data", 10 << 30).await?;
/// disks.attach(&data.id, "web", "/srv", false).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Disks {
    client: Client,
    /// Where new ones are made; on the server's default engine when it is empty.
    engine: String,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disk {
    /// For ever.
    pub id: String,
    /// Unique among the caller's.
    pub name: String,
    /// What it holds, in bytes.
    pub size: u64,
    /// `creating`, `ready` or `destroyed`.
    pub status: String,
    /// The engine that has it: what other servers call a worker.
    pub engine: String,
    /// The boxes that have it: one at most.
    pub attached: Vec<AttachedDisk>,
    /// When it was made, in seconds since 1970; 0 where the server does not say.
    pub created: i64,
}

/// That a box has a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachedDisk {
    /// The box.
    pub box_id: String,
    /// What the box is called.
    pub box_name: String,
    /// Where it is mounted.
    pub path: String,
    /// Nothing can be written.
    pub read_only: bool,
}

impl From<api::DiskInfo> for Disk {
    fn from(disk: api::DiskInfo) -> Self {
        let attached = |attached: api::DiskAttachment| AttachedDisk {
            box_id: attached.vm_id,
            box_name: attached.vm_name,
            path: attached.mount_path,
            read_only: attached.mount_mode == "ro",
        };
        Self {
            id: disk.disk_id,
            name: disk.name,
            size: disk.size_bytes,
            status: disk.status,
            engine: disk.worker_id,
            attached: disk.attachments.into_iter().map(attached).collect(),
            created: disk.created_at,
        }
    }
}

impl Disks {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, engine: String::new() }
    }

    /// The same, but that new ones are made on an engine of the server's that is not its default one.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.disks().on("lab").create("data", 10 << 30).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on(&self, engine: &str) -> Self {
        Self { client: self.client.clone(), engine: engine.to_owned() }
    }

    /// Makes an empty disk that holds `size` bytes.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.disks().create("data", 10 << 30).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, name: &str, size: u64) -> Result<Disk, Error> {
        let asked = api::CreateDiskRequest {
            name: name.to_owned(),
            size_bytes: size,
            boxherd_engine: self.engine.clone(),
        };
        let made = ask!(self.client, Changes, create_disk, asked)?;
        Ok(api::DiskInfo {
            disk_id: made.disk_id,
            name: made.name,
            size_bytes: made.size_bytes,
            status: made.status,
            worker_id: made.boxherd_engine,
            ..api::DiskInfo::default()
        }
        .into())
    }

    /// Every disk, and which box has it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// for disk in client.disks().list().await? {
    ///     println!("{} {}", disk.name, disk.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Disk>, Error> {
        let listed = ask!(self.client, Looks, list_disks, api::ListDisksRequest {})?;
        Ok(listed.disks.into_iter().map(Disk::from).collect())
    }

    /// Mounts a disk in a box: at once in one that runs, at its next start in another.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.disks().attach("data", "web", "/srv", false).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn attach(
        &self,
        disk: &str,
        of: &str,
        path: &str,
        read_only: bool,
    ) -> Result<(), Error> {
        let asked = api::AttachDiskRequest {
            disk_id: disk.to_owned(),
            vm_id: of.to_owned(),
            mount_path: path.to_owned(),
            read_only,
        };
        ask!(self.client, Changes, attach_disk, asked).map(drop)
    }

    /// Unmounts a disk from a box. What was written stays on it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.disks().detach("data", "web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn detach(&self, disk: &str, of: &str) -> Result<(), Error> {
        let asked = api::DetachDiskRequest { disk_id: disk.to_owned(), vm_id: of.to_owned() };
        ask!(self.client, Changes, detach_disk, asked).map(drop)
    }

    /// Removes a disk that no box has, with all that is on it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.disks().remove("data").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, disk: &str) -> Result<(), Error> {
        let asked = api::DestroyDiskRequest { disk_id: disk.to_owned() };
        ask!(self.client, Changes, destroy_disk, asked).map(drop)
    }
}
