//! Instances: containers and virtual machines, and their lives.

mod info;
mod new;

use hyper::Method;
use serde_json::{Value, json};

pub use info::{Etag, FullInstance, InstanceInfo, InstancePut};
pub use new::{Devices, InstanceKind, NewInstance, Source, StateChange};

use crate::client::Client;
use crate::error::Result;
use crate::operations::Operation;
use crate::transport::Call;
use crate::url::Url;

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
    /// [`Error::NotFound`](crate::Error::NotFound), and whatever a call may fail with.
    pub async fn get(&self) -> Result<InstanceInfo> {
        self.client.get(self.url([])).await
    }

    /// What the server knows of it, and the version of that for [`Instance::put`].
    ///
    /// # Errors
    ///
    /// As [`Instance::get`].
    pub async fn get_tagged(&self) -> Result<(InstanceInfo, Etag)> {
        self.client.get_tagged(self.url([])).await
    }

    /// Replaces its configuration; with the `tag` of what was read, only if that is still the
    /// newest.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`](crate::Error::Changed) for an old tag, and whatever a call may fail with.
    pub async fn put(&self, new: &InstancePut, tag: Option<&Etag>) -> Result<Operation> {
        let mut call = Call::new(Method::PUT, self.url([])).json(new)?;
        if let Some(tag) = tag {
            call = tag.on(call)?;
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
    /// [`Error::Conflict`](crate::Error::Conflict) for a name that is taken, and whatever a call and an
    /// operation may fail with.
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
    /// [`Error::NotFound`](crate::Error::NotFound), and whatever a call may fail with.
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
    /// [`Error::BadRequest`](crate::Error::BadRequest) when it runs,
    /// [`Error::NotFound`](crate::Error::NotFound), and what [`Operation::wait`] may fail with.
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
    /// [`Error::Conflict`](crate::Error::Conflict) for a name that is taken,
    /// [`Error::NotFound`](crate::Error::NotFound) for an image that is not there, and whatever a call may fail with.
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
