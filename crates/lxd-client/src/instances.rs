//! Instances: containers and virtual machines, and their lives.

use std::collections::BTreeMap;
use std::fmt;

use hyper::Method;
use hyper::header::ETAG;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::client::Client;
use crate::envelope::{self, Answer};
use crate::error::{Error, Result};
use crate::operations::Operation;
use crate::snapshots::Snapshot;
use crate::state::InstanceState;
use crate::transport::Call;
use crate::url::Url;

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

/// An instance as the server describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InstanceInfo {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
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
    pub profiles: Vec<String>,
    /// Its own options.
    pub config: BTreeMap<String, String>,
    /// Options with those of its profiles.
    pub expanded_config: BTreeMap<String, String>,
    /// Its own devices.
    pub devices: Devices,
    /// Devices with those of its profiles.
    pub expanded_devices: Devices,
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
#[derive(Clone, Debug, Default, Serialize)]
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
pub struct Etag(Option<String>);

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

/// One instance, whether it exists or not.
#[derive(Clone, Debug)]
pub struct Instance {
    client: Client,
    name: String,
}

impl Instance {
    pub(crate) fn new(client: Client, name: &str) -> Self {
        Self { client, name: name.to_owned() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client that it belongs to.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn url<const N: usize>(&self, segments: [&str; N]) -> Url {
        let start = ["instances", self.name.as_str()];
        self.client.scoped(Url::new(start.into_iter().chain(segments)))
    }

    /// What the server knows of it, without its state.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn get(&self) -> Result<InstanceInfo> {
        self.client.get(self.url([])).await
    }

    /// What the server knows of it, and the version of that for [`Instance::put`].
    ///
    /// # Errors
    ///
    /// As [`Instance::get`].
    pub async fn get_tagged(&self) -> Result<(InstanceInfo, Etag)> {
        let call = Call::new(Method::GET, self.url([]));
        let name = call.name();
        let (head, body) = self.client.whole(call, self.client.core.settings.answer_limit).await?;
        let tag = head.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        match envelope::open(&name, head.status, &body)? {
            Answer::Sync(value) => Ok((envelope::metadata(&name, value)?, Etag(tag))),
            Answer::Async(_) => Err(Error::protocol(name, "an operation instead of a result")),
        }
    }

    /// Replaces its configuration; with the `tag` of what was read, only if that is still the
    /// newest.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`] for an old tag, and whatever a call may fail with.
    pub async fn put(&self, new: &InstancePut, tag: Option<&Etag>) -> Result<Operation> {
        let mut call = Call::new(Method::PUT, self.url([])).json(new)?;
        if let Some(Etag(Some(tag))) = tag {
            call = call.header("if-match", tag)?;
        }
        self.client.start(call).await
    }

    /// Changes some of its configuration: what `changes` does not name stays.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn patch(&self, changes: &Value) -> Result<()> {
        let call = Call::new(Method::PATCH, self.url([])).json(changes)?;
        self.client.finish(call).await
    }

    /// Gives it another name. It must not run.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] for a name that is taken, and whatever a call and an operation may fail
    /// with.
    pub async fn rename(&self, name: &str) -> Result<Instance> {
        let call = Call::new(Method::POST, self.url([])).json(&json!({ "name": name }))?;
        self.client.finish(call).await?;
        Ok(Self::new(self.client.clone(), name))
    }

    /// Moves it to another member of the cluster. It must not run.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn move_to(&self, member: &str) -> Result<Operation> {
        let body = json!({ "name": self.name, "migration": true });
        self.client.start_json(Method::POST, self.url([]).query("target", member), &body).await
    }

    /// Starts a change of its state.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn change_state(&self, change: StateChange) -> Result<Operation> {
        self.client.start_json(Method::PUT, self.url(["state"]), &change).await
    }

    /// Starts it, and waits until it runs.
    ///
    /// # Errors
    ///
    /// What [`Instance::change_state`] and [`Operation::wait`] may fail with.
    pub async fn start(&self) -> Result<()> {
        self.change_state(StateChange::START).await?.wait().await.map(drop)
    }

    /// Kills it, and waits until it is stopped.
    ///
    /// # Errors
    ///
    /// What [`Instance::change_state`] and [`Operation::wait`] may fail with.
    pub async fn kill(&self) -> Result<()> {
        self.change_state(StateChange::KILL).await?.wait().await.map(drop)
    }

    /// Deletes it, and waits until it is gone. It must not run.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] when it runs, [`Error::NotFound`], and what
    /// [`Operation::wait`] may fail with.
    pub async fn delete(&self) -> Result<()> {
        let call = Call::new(Method::DELETE, self.url([]));
        self.client.start(call).await?.wait().await.map(drop)
    }
}

impl Client {
    /// Makes an instance, which does not run yet.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] for a name that is taken, [`Error::NotFound`] for an image
    /// that is not there, and whatever a call may fail with.
    pub async fn create_instance(&self, new: &NewInstance) -> Result<Operation> {
        let url = self.url(["instances"]).query_if("target", new.target.as_deref());
        self.start_json(Method::POST, url, new).await
    }

    /// All instances of the project with their states and snapshots, in one call.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn full_instances(&self) -> Result<Vec<FullInstance>> {
        self.get(self.url(["instances"]).query("recursion", "2")).await
    }

    /// All instances of the project, without their states.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn instances(&self) -> Result<Vec<InstanceInfo>> {
        self.get(self.url(["instances"]).query("recursion", "1")).await
    }
}
