//! What is asked for: instances to be made, and changes of their states.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceKind {
    /// A system container.
    #[default]
    Container,
    /// A virtual machine.
    VirtualMachine,
}

/// Devices of an instance: their options, by the name of the device.
pub type Devices = BTreeMap<String, BTreeMap<String, String>>;

/// What an instance is made from.
#[derive(Clone, Default, Serialize)]
pub struct Source {
    /// `image`, `copy`, `migration` or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The alias of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The fingerprint of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The server that has the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// What that server speaks: `lxd`, `incus` or `simplestreams`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The certificate of that server in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What opens a private image of that server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// `pull` or `push`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The instance that is copied, as `NAME` or `NAME/SNAPSHOT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The project of the instance that is copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Whether the snapshots of the instance stay behind.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub instance_only: bool,
    /// Whether its memory comes along.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
}

/// Without the secret.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("kind", &self.kind)
            .field("alias", &self.alias)
            .field("fingerprint", &self.fingerprint)
            .field("server", &self.server)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// An image of the server, by its alias.
    #[must_use]
    pub fn alias(alias: &str) -> Self {
        Self { kind: "image".into(), alias: Some(alias.into()), ..Self::default() }
    }

    /// An image of the server, by its fingerprint or the unambiguous beginning of it.
    #[must_use]
    pub fn fingerprint(fingerprint: &str) -> Self {
        Self { kind: "image".into(), fingerprint: Some(fingerprint.into()), ..Self::default() }
    }

    /// An image of another server, by its alias there.
    #[must_use]
    pub fn remote(server: &str, protocol: &str, alias: &str) -> Self {
        Self {
            server: Some(server.into()),
            protocol: Some(protocol.into()),
            mode: Some("pull".into()),
            ..Self::alias(alias)
        }
    }

    /// Another instance, as `NAME` or `NAME/SNAPSHOT`, without its snapshots.
    #[must_use]
    pub fn copy(source: &str) -> Self {
        Self {
            kind: "copy".into(),
            source: Some(source.into()),
            instance_only: true,
            ..Self::default()
        }
    }

    /// Nothing: an empty disk.
    #[must_use]
    pub fn none() -> Self {
        Self { kind: "none".into(), ..Self::default() }
    }
}

/// An instance to be made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewInstance {
    /// Its name, at most 63 letters, digits and dashes.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: InstanceKind,
    /// Its architecture, such as `x86_64`; empty for that of its image. A cluster has to be told that of a
    /// copy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// What it is made from.
    pub source: Source,
    /// Options, such as `limits.memory`.
    pub config: BTreeMap<String, String>,
    /// Devices beyond those of its profiles.
    pub devices: Devices,
    /// Names of profiles; `None` for `default`, or for none at all when it is a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Whether it is deleted when it stops.
    pub ephemeral: bool,
    /// Words for people.
    pub description: String,
    /// The member of a cluster that gets it; `None` lets the cluster choose.
    #[serde(skip)]
    pub target: Option<String>,
}

/// A change of state, as `PUT …/state` takes it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StateChange {
    /// `start`, `stop`, `restart`, `freeze` or `unfreeze`.
    pub action: &'static str,
    /// Seconds until the server gives up; -1 for never.
    pub timeout: i32,
    /// Whether it is killed and not asked.
    pub force: bool,
    /// Whether memory is saved (stop) or restored (start).
    pub stateful: bool,
}

impl StateChange {
    /// Starts it.
    pub const START: Self = Self::new("start");
    /// Kills it.
    pub const KILL: Self = Self { force: true, ..Self::new("stop") };
    /// Freezes its processes.
    pub const FREEZE: Self = Self::new("freeze");
    /// Thaws them.
    pub const UNFREEZE: Self = Self::new("unfreeze");

    const fn new(action: &'static str) -> Self {
        Self { action, timeout: 30, force: false, stateful: false }
    }

    /// Asks it to stop, within so many seconds.
    #[must_use]
    pub const fn stop(timeout: i32) -> Self {
        Self { timeout, ..Self::new("stop") }
    }

    /// Restarts it: asks it to stop within so many seconds, then starts it.
    #[must_use]
    pub const fn restart(timeout: i32) -> Self {
        Self { timeout, ..Self::new("restart") }
    }
}
