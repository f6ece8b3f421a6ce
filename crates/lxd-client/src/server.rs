//! What a server says of itself: `GET /1.0`.

use serde::Deserialize;

use crate::error::{Error, Result};

/// Whether the server trusts this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// It does.
    Trusted,
    /// It does not: only public things can be read.
    Untrusted,
}

/// A server, as it describes itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    /// Whether it trusts this client.
    pub auth: Auth,
    /// What it can do beyond the first version of the API.
    #[serde(default)]
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub api_extensions: Vec<String>,
    /// What it runs on; empty for clients that are not trusted.
    #[serde(default)]
    pub environment: Environment,
}

/// What a server runs on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// `lxd` or `incus`.
    pub server: String,
    /// Such as `5.0.2`.
    pub server_version: String,
    /// The name of the machine, or of the cluster's member that answered.
    pub server_name: String,
    /// Whether it is a member of a cluster.
    pub server_clustered: bool,
    /// Architectures of instances, such as `x86_64`.
    #[serde(default)]
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub architectures: Vec<String>,
    /// What runs instances, such as `lxc | qemu`.
    pub driver: String,
    /// The versions of `driver`.
    pub driver_version: String,
    /// Drivers of storage pools in use, such as `dir | btrfs`.
    pub storage: String,
    /// The project of this answer.
    pub project: String,
    /// The certificate in PEM.
    pub certificate: String,
    /// Its SHA-256, as [`crate::Fingerprint`] prints it.
    pub certificate_fingerprint: String,
    /// The Linux kernel, such as `6.1.0`.
    pub kernel_version: String,
}

impl Server {
    /// Whether it has an extension of the API.
    #[must_use]
    pub fn has(&self, extension: &str) -> bool {
        self.api_extensions.iter().any(|other| other == extension)
    }

    /// That it has an extension.
    ///
    /// # Errors
    ///
    /// [`Error::MissingExtension`].
    pub fn require(&self, extension: &str) -> Result<()> {
        if self.has(extension) {
            return Ok(());
        }
        Err(Error::MissingExtension { extension: extension.to_owned() })
    }

    /// That it trusts this client.
    ///
    /// # Errors
    ///
    /// [`Error::Untrusted`].
    pub fn trusted(&self) -> Result<()> {
        match self.auth {
            Auth::Trusted => Ok(()),
            Auth::Untrusted => Err(Error::Untrusted { call: "GET /1.0".to_owned() }),
        }
    }
}
