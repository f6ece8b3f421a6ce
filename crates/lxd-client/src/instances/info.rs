//! What the server tells of instances, and what of that can be replaced.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::instances::new::{Devices, InstanceKind};
use crate::snapshots::Snapshot;
use crate::state::InstanceState;
use crate::transport::Call;

/// The status code of one that nothing is known of, or that is broken.
const ERROR: u16 = 112;

/// An instance as the server describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InstanceInfo {
    /// Its name.
    pub name: String,
    /// What it is; a container also where the server does not say.
    #[serde(rename = "type", deserialize_with = "crate::null::is_unsaid")]
    pub kind: InstanceKind,
    /// `Running`, `Stopped`, `Frozen`, `Error`, …
    pub status: String,
    /// The same as a number: 102 stopped, 103 running, 110 frozen, 112 error.
    pub status_code: u16,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it was started last, RFC 3339.
    pub last_used_at: String,
    /// The architecture, such as `x86_64`.
    pub architecture: String,
    /// Words for people.
    pub description: String,
    /// Whether it is deleted when it stops.
    pub ephemeral: bool,
    /// Whether it has memory saved by a stateful stop.
    pub stateful: bool,
    /// The project it is in.
    pub project: String,
    /// The member of a cluster that has it, `none` without a cluster.
    pub location: String,
    /// Its profiles.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub profiles: Vec<String>,
    /// Its own options.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Options with those of its profiles.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub expanded_config: BTreeMap<String, String>,
    /// Its own devices.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub devices: Devices,
    /// Devices with those of its profiles.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub expanded_devices: Devices,
}

impl InstanceInfo {
    /// Whether it is only named, because the member of a cluster that has it does not answer: nothing else
    /// is known of it then.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.status_code == ERROR && self.config.is_empty() && self.expanded_config.is_empty()
    }
}

/// An instance with its state and its snapshots.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FullInstance {
    /// What it is.
    #[serde(flatten)]
    pub info: InstanceInfo,
    /// How it is; `None` where the member that has it does not answer.
    pub state: Option<InstanceState>,
    /// Its snapshots; `None` for none.
    pub snapshots: Option<Vec<Snapshot>>,
}

/// What of an instance can be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InstancePut {
    /// The architecture.
    pub architecture: String,
    /// Its own options.
    pub config: BTreeMap<String, String>,
    /// Its own devices.
    pub devices: Devices,
    /// Whether it is deleted when it stops.
    pub ephemeral: bool,
    /// Its profiles.
    pub profiles: Vec<String>,
    /// Whether it has memory saved.
    pub stateful: bool,
    /// Words for people.
    pub description: String,
}

impl From<InstanceInfo> for InstancePut {
    fn from(info: InstanceInfo) -> Self {
        Self {
            architecture: info.architecture,
            config: info.config,
            devices: info.devices,
            ephemeral: info.ephemeral,
            profiles: info.profiles,
            stateful: info.stateful,
            description: info.description,
        }
    }
}

/// The version of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etag(pub(crate) Option<String>);

impl Etag {
    /// A call that is for this version alone.
    pub(crate) fn on(&self, call: Call) -> Result<Call> {
        match &self.0 {
            Some(tag) => call.header("if-match", tag),
            None => Ok(call),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_null_is_empty() {
        let text = r#"{"name":"half","config":null,"expanded_config":null,"devices":null,
            "expanded_devices":null,"profiles":null,"state":null,"snapshots":null}"#;
        let full: FullInstance = serde_json::from_str(text).unwrap();
        assert_eq!(full.info.name, "half");
        assert!(full.info.expanded_config.is_empty() && full.info.profiles.is_empty());
    }

    #[test]
    fn what_a_member_that_is_offline_has_is_only_named() {
        // As LXD 5.0.2 lists it.
        let text = r#"{"architecture":"","config":null,"created_at":"0001-01-01T00:00:00Z",
            "devices":null,"expanded_config":null,"location":"n2","name":"lost","profiles":null,
            "status":"Error","status_code":112,"type":""}"#;
        let lost: InstanceInfo = serde_json::from_str(text).unwrap();
        assert!(lost.is_lost());
        assert_eq!((lost.location.as_str(), lost.kind), ("n2", InstanceKind::Container));
        // One that is broken on a member that answers.
        let broken = text.replace("\"config\":null", "\"config\":{\"a\":\"b\"}");
        assert!(!serde_json::from_str::<InstanceInfo>(&broken).unwrap().is_lost());
        let wrong = text.replace("\"type\":\"\"", "\"type\":\"teapot\"");
        assert!(serde_json::from_str::<InstanceInfo>(&wrong).is_err());
    }
}
