//! Snapshots of an instance.

use std::collections::BTreeMap;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::Result;
use crate::instances::{Devices, Instance};
use crate::operations::Operation;
use crate::transport::Call;

/// A snapshot to be made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewSnapshot {
    /// Its name.
    pub name: String,
    /// Whether memory is saved as well.
    pub stateful: bool,
    /// When the server is to delete it, RFC 3339; `None` for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A snapshot as the server describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Its name, without the instance's.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When the server will delete it; the year 1 for never.
    pub expires_at: String,
    /// Whether it has memory saved.
    pub stateful: bool,
    /// Bytes; 0 or -1 when that is not known.
    pub size: i64,
    /// The options of the instance at that time.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The devices of the instance at that time.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub devices: Devices,
}

impl Instance {
    /// Makes a snapshot.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Conflict`] for a name that is taken, and whatever a call may fail with.
    pub async fn create_snapshot(&self, new: &NewSnapshot) -> Result<Operation> {
        self.client().start_json(Method::POST, self.url(["snapshots"]), new).await
    }

    /// Its snapshots, the oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`], and whatever a call may fail with.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let url = self.url(["snapshots"]).query("recursion", "1");
        let mut snapshots: Vec<Snapshot> = self.client().get(url).await?;
        snapshots.sort_by(|one, other| one.created_at.cmp(&other.created_at));
        Ok(snapshots)
    }

    /// Makes it what it was at a snapshot.
    ///
    /// # Errors
    ///
    /// Whatever a call and an operation may fail with.
    pub async fn restore(&self, snapshot: &str, stateful: bool) -> Result<()> {
        let body = json!({ "restore": snapshot, "stateful": stateful });
        let call = Call::new(Method::PUT, self.url([])).json(&body)?;
        self.client().finish(call).await
    }

    /// Deletes a snapshot, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`], and whatever a call and an operation may fail with.
    pub async fn delete_snapshot(&self, snapshot: &str) -> Result<()> {
        let call = Call::new(Method::DELETE, self.url(["snapshots", snapshot]));
        self.client().finish(call).await
    }
}
