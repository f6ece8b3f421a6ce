//! Who one is, and what the server is like.

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// Who the key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// For ever.
    pub user_id: String,
    /// What the user is called; empty where the server does not say.
    pub name: String,
    /// Of the public keys for SSH that were linked.
    pub fingerprints: Vec<String>,
    /// The network that boxes are in when none is named; empty where the server does not say.
    pub default_network: String,
}

/// What the server does when nobody says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// What boxes are booted from.
    pub default_image: String,
    /// Below which domain boxes are reached.
    pub zone: String,
}

impl Client {
    /// Who the key belongs to.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{}", client.whoami().await?.user_id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn whoami(&self) -> Result<Account, Error> {
        let me = ask!(self, Looks, whoami, api::WhoamiRequest {})?;
        Ok(Account {
            user_id: me.user_id,
            name: me.display_name,
            fingerprints: me.pubkey_fingerprints,
            default_network: me.default_network_id,
        })
    }

    /// What the server does when nobody says otherwise.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{}", client.config().await?.zone);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn config(&self) -> Result<ServerConfig, Error> {
        let config = ask!(self, Looks, get_config, api::GetConfigRequest {})?;
        Ok(ServerConfig { default_image: config.default_image, zone: config.zone })
    }

    /// Gives the server a public key of the caller's for SSH, as `ssh-keygen` writes it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.link_ssh_key("ssh-ed25519 AAAA… me@here", "laptop").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn link_ssh_key(&self, key: &str, label: &str) -> Result<(), Error> {
        let asked = api::LinkSshKeyRequest {
            pubkey: key.to_owned(),
            label: label.to_owned(),
            ..api::LinkSshKeyRequest::default()
        };
        ask!(self, Changes, link_ssh_key, asked).map(drop)
    }
}
