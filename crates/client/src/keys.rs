//! API keys, which programs are given.

use std::fmt;
use std::time::Duration;

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// What a server knows that can speak of keys of others.
const OF_USERS: &str = "keys-of-users";

/// API keys: the caller's, and for administrators those of others.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let key = client.keys().create("ci", None).await?;
/// println!("shown this once: {}", key.api_key);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Keys {
    client: Client,
}

/// A key that was just made.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewKey {
    /// For ever.
    pub id: String,
    /// The key itself, which is told this once.
    pub api_key: String,
    /// Until when it holds, in seconds since 1970; 0 is for ever.
    pub expires: i64,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A key, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// For ever.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// How it begins.
    pub prefix: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it was exchanged last; 0 is never.
    pub last_used: i64,
    /// Until when it holds; 0 is for ever.
    pub expires: i64,
}

impl Keys {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a key, which holds for so long, or for ever.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// use std::time::Duration;
    ///
    /// let day = Duration::from_secs(24 * 3600);
    /// let key = client.keys().create("ci", Some(day)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, name: &str, life: Option<Duration>) -> Result<NewKey, Error> {
        self.made("", name, life).await
    }

    /// Makes a key for another user, who is made when there is none. For administrators; Boxherd alone
    /// offers it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let key = client.keys().create_for("bob", "laptop", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_for(
        &self,
        user: &str,
        name: &str,
        life: Option<Duration>,
    ) -> Result<NewKey, Error> {
        self.client.needs(OF_USERS).await?;
        self.made(user, name, life).await
    }

    async fn made(&self, user: &str, name: &str, life: Option<Duration>) -> Result<NewKey, Error> {
        let asked = api::CreateApiKeyRequest {
            name: name.to_owned(),
            expires_in_secs: life.map_or(0, |life| life.as_secs().max(1)),
            boxherd_user: user.to_owned(),
            ..api::CreateApiKeyRequest::default()
        };
        let made = ask!(self.client, Changes, create_api_key, asked)?;
        Ok(NewKey { id: made.id, api_key: made.api_key, expires: made.expires_at })
    }

    /// Every key.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} keys", client.keys().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Key>, Error> {
        self.listed("").await
    }

    /// Every key of another user. For administrators; Boxherd alone offers it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} keys", client.keys().list_of("bob").await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_of(&self, user: &str) -> Result<Vec<Key>, Error> {
        self.client.needs(OF_USERS).await?;
        self.listed(user).await
    }

    async fn listed(&self, user: &str) -> Result<Vec<Key>, Error> {
        let asked = api::ListApiKeysRequest { boxherd_user: user.to_owned() };
        let listed = ask!(self.client, Looks, list_api_keys, asked)?;
        let told = |key: api::ApiKeyInfo| Key {
            id: key.id,
            name: key.name,
            prefix: key.key_prefix,
            created: key.created_at,
            last_used: key.last_used_at,
            expires: key.expires_at,
        };
        Ok(listed.keys.into_iter().map(told).collect())
    }

    /// Takes a key back, with the tokens that it was exchanged for.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.keys().remove("ID").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        let asked = api::DeleteApiKeyRequest { id: id.to_owned() };
        ask!(self.client, Changes, delete_api_key, asked).map(drop)
    }
}
