//! Profiles: options and devices that instances share.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::Client;
use crate::error::Result;
use crate::instances::Devices;

/// A profile as the server describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// Options that its instances have.
    pub config: BTreeMap<String, String>,
    /// Devices that its instances have.
    pub devices: Devices,
}

impl Client {
    /// A profile of the project.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`], and whatever a call may fail with.
    pub async fn profile(&self, name: &str) -> Result<Profile> {
        self.get(self.url(["profiles", name])).await
    }
}
