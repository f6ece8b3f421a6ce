//! What is measured: a server of LXD or Incus, as whoever composes the program hands it over.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use boxherd_engine::{Engine, EngineError};
use boxherd_herd::{Create, Herd};
use boxherd_lxd_client::{Flavour, Remote};
use boxherd_model::{Address, BoxId, BoxName, BoxSpec, EngineName};

/// Makes an engine.
pub type Open = dyn Fn(&Remote) -> Result<Arc<dyn Engine>, EngineError> + Send + Sync;

/// A server, and what it takes to go there by other ways than its engine does.
#[derive(Clone)]
pub struct Server {
    /// The herd that has the engine.
    pub herd: Arc<Herd>,
    /// The engine's name.
    pub name: EngineName,
    /// LXD or Incus.
    pub flavour: Flavour,
    /// How it is reached.
    pub remote: Remote,
    /// Where `client.crt` and `client.key` are, by which it trusts us; they need not be there for a unix
    /// socket.
    pub folder: PathBuf,
    /// The engine on it, reached otherwise, as a program has it that has just begun: it knows nothing,
    /// and no connection is open.
    pub open: Arc<Open>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Server {
    fn address(&self, name: &BoxName) -> Address {
        Address { engine: Some(self.name.clone()), ..Address::of(name.clone()) }
    }

    /// Makes a box with every default, and starts it.
    pub(crate) async fn make(&self, name: &BoxName) -> anyhow::Result<BoxId> {
        let engine = Some(self.name.clone());
        let create = Create { engine, ..BoxSpec::new(name.clone()).into() };
        Ok(self.herd.create(create).await?.id)
    }

    /// Removes a box, in any state; nothing where there is none.
    pub(crate) async fn remove(&self, name: &BoxName) -> anyhow::Result<()> {
        match self.herd.delete(&self.address(name)).await {
            Err(error) if error.code() == "no-such-box" => Ok(()),
            removed => Ok(removed?),
        }
    }
}
