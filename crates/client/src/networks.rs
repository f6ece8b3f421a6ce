//! Networks: which boxes see each other.

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// The caller's networks. [`Boxes::set_networks`](crate::Boxes::set_networks) puts a box into one.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// client.networks().create("back").await?;
/// client.boxes().set_networks("db", &["back"]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Networks {
    client: Client,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// For ever.
    pub id: String,
    /// Its addresses; empty where the server does not say.
    pub subnet: String,
    /// `active`, or why it is not.
    pub status: String,
}

impl Networks {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a network, and answers its id.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let back = client.networks().create("back").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, name: &str) -> Result<String, Error> {
        let asked = api::CreateNetworkRequest { name: name.to_owned() };
        Ok(ask!(self.client, Changes, create_network, asked)?.network_id)
    }

    /// Every network, with the one that is there from the start.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} networks", client.networks().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Network>, Error> {
        let listed = ask!(self.client, Looks, list_networks, api::ListNetworksRequest {})?;
        let told = |network: api::NetworkInfo| Network {
            id: network.network_id,
            subnet: network.subnet,
            status: network.status,
        };
        Ok(listed.networks.into_iter().map(told).collect())
    }
}
