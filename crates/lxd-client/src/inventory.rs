//! What a server has besides instances and images; read only.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::Client;
use crate::error::Result;
use crate::instances::Devices;
use crate::url::Url;

/// A member of a cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its name.
    pub server_name: String,
    /// Its address, `https://HOST:PORT`.
    pub url: String,
    /// `Online`, `Offline`, `Evacuated`, `Blocked`.
    pub status: String,
    /// What the status means.
    pub message: String,
    /// Whether it keeps a copy of the database.
    pub database: bool,
    /// `database`, `database-leader`, `database-standby`, …
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub roles: Vec<String>,
    /// Its architecture.
    pub architecture: String,
    /// The group of machines that fail together.
    pub failure_domain: String,
    /// Its options, such as `scheduler.instance`.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub config: BTreeMap<String, String>,
}

impl Member {
    /// Whether it can be asked for anything.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.status == "Online"
    }
}

/// A pool for disks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StoragePool {
    /// Its name.
    pub name: String,
    /// `dir`, `btrfs`, `zfs`, …
    pub driver: String,
    /// `Created`, `Pending`, `Unavailable`, …
    pub status: String,
    /// Its options.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// A project.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its options, such as `features.images`: whether it has images of its own.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// A profile.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// Options for its instances.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Devices for its instances.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub devices: Devices,
}

/// A network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// `bridge`, `ovn`, `physical`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the server made it.
    pub managed: bool,
    /// `Created`, … ; empty for one that is not managed.
    pub status: String,
    /// Its options.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub config: BTreeMap<String, String>,
}

impl Client {
    /// This client's own project.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`] when the server has none of that name, [`crate::Error::Untrusted`] when
    /// this client may not use it, and whatever a call may fail with.
    pub async fn own_project(&self) -> Result<Project> {
        self.get(Url::new(["projects", self.project()])).await
    }

    /// The members of the cluster.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] or [`crate::Error::BadRequest`] when it is no cluster, and
    /// whatever a call may fail with.
    pub async fn cluster_members(&self) -> Result<Vec<Member>> {
        let url = Url::new(["cluster", "members"]).query("recursion", "1");
        self.get(url).await
    }

    /// All storage pools.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn storage_pools(&self) -> Result<Vec<StoragePool>> {
        self.get(self.url(["storage-pools"]).query("recursion", "1")).await
    }

    /// One profile.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`], and whatever a call may fail with.
    pub async fn profile(&self, name: &str) -> Result<Profile> {
        self.get(self.url(["profiles", name])).await
    }

    /// All profiles.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn profiles(&self) -> Result<Vec<Profile>> {
        self.get(self.url(["profiles"]).query("recursion", "1")).await
    }

    /// One network.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`], and whatever a call may fail with.
    pub async fn network(&self, name: &str) -> Result<Network> {
        self.get(self.url(["networks", name])).await
    }

    /// All networks, also those that the server only sees.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn networks(&self) -> Result<Vec<Network>> {
        self.get(self.url(["networks"]).query("recursion", "1")).await
    }
}
