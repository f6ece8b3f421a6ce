//! Custom volumes: file systems of a pool that instances mount besides their own.

use std::collections::BTreeMap;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::Client;
use crate::error::Result;
use crate::instances::Etag;
use crate::transport::Call;
use crate::url::Url;

/// What those are called that are no instance's own and no image's.
const CUSTOM: &str = "custom";

/// A volume to be made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewVolume {
    /// Its name, of which a pool has one in each project that has volumes of its own.
    pub name: String,
    /// Its options, such as `size`, `32MiB`, which pools of the kind `dir` do not hold.
    pub config: BTreeMap<String, String>,
}

/// A volume as the server describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// `filesystem`, or `block` for a disk of virtual machines.
    pub content_type: String,
    /// The member of a cluster that has it; `none` without a cluster, empty where all have it.
    pub location: String,
    /// Its options.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The paths of what names it in its devices, such as `/1.0/instances/web?project=team`. Snapshots
    /// are not among them.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub used_by: Vec<String>,
}

impl Client {
    fn volumes_url(&self, pool: &str) -> Url {
        self.url(["storage-pools", pool, "volumes", CUSTOM])
    }

    fn volume_url(&self, pool: &str, name: &str) -> Url {
        self.url(["storage-pools", pool, "volumes", CUSTOM, name])
    }

    /// Makes a volume with an empty file system.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Conflict`] or [`crate::Error::BadRequest`] for a name that is taken,
    /// [`crate::Error::NotFound`] without such a pool, and whatever a call may fail with.
    pub async fn create_volume(&self, pool: &str, new: &NewVolume) -> Result<()> {
        let NewVolume { name, config } = new;
        let kind = "filesystem";
        let body = json!({ "name": name, "type": CUSTOM, "content_type": kind, "config": config });
        self.finish(Call::new(Method::POST, self.volumes_url(pool)).json(&body)?).await
    }

    /// The custom volumes of a pool.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`] without such a pool, and whatever a call may fail with.
    pub async fn volumes(&self, pool: &str) -> Result<Vec<Volume>> {
        self.get(self.volumes_url(pool).query("recursion", "1")).await
    }

    /// One volume, and the version of that for [`Client::patch_volume`].
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`], and whatever a call may fail with.
    pub async fn volume(&self, pool: &str, name: &str) -> Result<(Volume, Etag)> {
        self.get_tagged(self.volume_url(pool, name)).await
    }

    /// Changes some options of a volume; one that is empty is taken away. With the `tag` of what was
    /// read, only if that is still the newest, which LXD (5.0.2) looks at before it begins: of two that
    /// come in the same moment both may get through, and what the later says holds.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Changed`] for an old tag, [`crate::Error::NotFound`], and whatever a call may fail
    /// with.
    pub async fn patch_volume(
        &self,
        pool: &str,
        name: &str,
        config: &BTreeMap<String, String>,
        tag: &Etag,
    ) -> Result<()> {
        let call = Call::new(Method::PATCH, self.volume_url(pool, name));
        self.finish(tag.on(call.json(&json!({ "config": config }))?)?).await
    }

    /// Deletes a volume with all that is in it.
    ///
    /// # Errors
    ///
    /// [`crate::Error::BadRequest`] while an instance names it, [`crate::Error::NotFound`], and whatever a
    /// call may fail with.
    pub async fn delete_volume(&self, pool: &str, name: &str) -> Result<()> {
        self.finish(Call::new(Method::DELETE, self.volume_url(pool, name))).await
    }
}
