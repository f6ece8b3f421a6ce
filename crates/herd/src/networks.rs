//! Networks of users: a name among the user's own, and behind it a network of the engine that is
//! nobody else's.

use std::sync::Arc;

use boxherd_engine::Engine;
use boxherd_model::{BoxStatus, Caller, Capability, NetworkName, NetworkSpec, ThingId, UserId};
use boxherd_store::{StoreError, ThingKind};

use crate::belongings::no_such;
use crate::{Herd, HerdError};

/// A network, as its user knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// For ever.
    pub id: String,
    /// Unique among the networks of a user.
    pub name: String,
}

impl Herd {
    /// Makes a network of the caller's. The engine makes its own when a box joins.
    pub async fn make_network(&self, name: &NetworkName) -> Result<Network, HerdError> {
        self.user_id()?;
        if *name == NetworkName::default_network() {
            let (what, name) = (ThingKind::Network.as_str(), name.to_string());
            return Err(StoreError::Taken { what, name }.into());
        }
        let thing = self.acquire(ThingKind::Network, None, name.as_str(), &()).await?;
        Ok(Network { id: thing.id.to_string(), name: thing.name })
    }

    /// The caller's networks: the one that is there from the start, then by age.
    pub async fn networks(&self) -> Result<Vec<Network>, HerdError> {
        let name = NetworkName::default_network().to_string();
        let mut networks = vec![Network { id: self.default_network()?, name }];
        let own = self.belongings(ThingKind::Network).await?;
        networks.extend(
            own.into_iter().map(|thing| Network { id: thing.id.to_string(), name: thing.name }),
        );
        Ok(networks)
    }

    /// The id of the network that the caller has from the start.
    pub fn default_network(&self) -> Result<String, HerdError> {
        Ok(of_user(self.user_id()?).to_string())
    }

    /// The network that a box is in, by its user's name for it; `None` for the one from the start.
    pub async fn network_of(&self, status: &BoxStatus) -> Result<Option<String>, HerdError> {
        let NetworkSpec::Bridge { name, .. } = &status.spec.network else { return Ok(None) };
        let own = status.owner.map(of_user);
        if *name == NetworkName::default_network() || own.as_ref() == Some(name) {
            return Ok(None);
        }
        let things = self.store.things_owned(ThingKind::Network, status.owner).await?;
        let found = things.into_iter().find(|thing| of_thing(thing.id) == *name);
        Ok(Some(found.map_or_else(|| name.to_string(), |thing| thing.name)))
    }

    /// What the engine calls a network of the caller's, by its name or id. The host's networks are
    /// the engine's.
    pub(crate) async fn engine_network(
        &self,
        engine: &Arc<dyn Engine>,
        name: &NetworkName,
    ) -> Result<NetworkName, HerdError> {
        let Caller::User(user) = self.caller else { return Ok(name.clone()) };
        let private = engine.capabilities().has(Capability::PrivateNetworks);
        if *name == NetworkName::default_network() {
            // It is the engine's, or loopback only.
            return Ok(if private { of_user(user) } else { name.clone() });
        }
        let own = self.belongings(ThingKind::Network).await?;
        let meant = |text: &str| text == name.as_str();
        let found = own.iter().find(|thing| meant(&thing.name) || meant(&thing.id.to_string()));
        let found = found.ok_or_else(|| no_such(ThingKind::Network, name.as_str()))?;
        if !private {
            let source = engine.unsupported("join a network", Capability::PrivateNetworks);
            return Err(HerdError::Engine { op: "use", name: name.to_string(), source });
        }
        Ok(of_thing(found.id))
    }
}

/// The network that a user has from the start.
fn of_user(user: UserId) -> NetworkName {
    named("user", &user.to_string())
}

fn of_thing(id: ThingId) -> NetworkName {
    named("net", &id.to_string())
}

/// The end of an id is random.
fn named(prefix: &str, id: &str) -> NetworkName {
    let name = format!("{prefix}-{}", &id[id.len() - 12..]);
    name.parse().expect("letters, digits and an inner hyphen")
}
