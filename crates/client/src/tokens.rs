//! Tokens: what calls are made with, and what can be given to who needs no key.

use std::fmt;
use std::time::Duration;

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// The caller's tokens, but for those that keys are exchanged for.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let token = client.tokens().create(None).await?;
/// let other = boxherd_client::Client::builder().token(token.token);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tokens {
    client: Client,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewToken {
    /// The token itself, which is told this once.
    pub token: String,
    /// Until when it holds, in seconds since 1970.
    pub expires: i64,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// A token, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// By which it is taken back.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Until when it holds.
    pub expires: i64,
}

impl Tokens {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a token, which holds for so long, or as the server does it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let token = client.tokens().create(Some(std::time::Duration::from_secs(600))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, life: Option<Duration>) -> Result<NewToken, Error> {
        let expires_in_secs = life.map_or(0, |life| life.as_secs().max(1));
        let asked = api::CreateTokenRequest { expires_in_secs };
        let made = ask!(self.client, Changes, create_token, asked)?;
        Ok(NewToken { token: made.token, expires: made.expires_at })
    }

    /// Every token that was asked for and holds.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} tokens", client.tokens().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Token>, Error> {
        let listed = ask!(self.client, Looks, list_tokens, api::ListTokensRequest {})?;
        let told = |token: api::TokenInfo| Token {
            id: token.jti,
            created: token.created_at,
            expires: token.expires_at,
        };
        Ok(listed.tokens.into_iter().map(told).collect())
    }

    /// Takes a token back; the next call with it is refused.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.tokens().revoke("ID").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke(&self, id: &str) -> Result<(), Error> {
        let asked = api::RevokeTokenRequest { jti: id.to_owned() };
        ask!(self.client, Changes, revoke_token, asked).map(drop)
    }
}
