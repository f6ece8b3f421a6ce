//! Tokens: JWTs (RFC 7519) that requests carry, signed with HMAC-SHA256 by keys that rotate.

use std::sync::Arc;
use std::time::Duration;

use boxherd_model::{KeyId, Timestamp, TokenId, UserId};
use boxherd_store::{KeyRecord, SigningKey, TokenRecord};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::keys::later;
use super::{Secret, random, url_safe};
use crate::{Herd, HerdError};

/// How long a token lives that a key was exchanged for.
const OF_A_KEY: Duration = Duration::from_hours(1);
/// How long a token lives that was asked for without a time.
const DEFAULT: Duration = Duration::from_hours(24);
/// How long a token may live.
const LONGEST: Duration = Duration::from_hours(24 * 90);
/// How long a key signs.
const SIGNS: Duration = Duration::from_hours(24 * 30);
/// Whom tokens are from and for.
const ISSUER: &str = "boxherd";
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 4096;

const INVALID: HerdError = HerdError::Unauthenticated("the token is not valid");
const EXPIRED: HerdError = HerdError::Unauthenticated("the token has expired");
const REVOKED: HerdError = HerdError::Unauthenticated("the token was revoked");

/// A token that was just made.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token.
    pub token: Secret,
    /// When it ends.
    pub expires: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    /// Seconds.
    iat: i64,
    /// Seconds.
    exp: i64,
    /// The key that it was exchanged for; without it, the token is one that is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// The keys that signed tokens, as they were read last. One that was forgotten since (see
/// [`rotate`](Herd::rotate)) has signed none that still holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signers(Arc<Mutex<Vec<SigningKey>>>);

impl Signers {
    fn find(&self, id: &str) -> Option<SigningKey> {
        self.0.lock().iter().find(|key| key.id == id).cloned()
    }

    fn set(&self, keys: Vec<SigningKey>) {
        *self.0.lock() = keys;
    }
}

impl Herd {
    /// A token for the caller that lives for `life`, a day if that is not given, 90 days at most.
    pub async fn make_token(&self, life: Option<Duration>) -> Result<Token, HerdError> {
        let user = self.user_id()?;
        let life = life.unwrap_or(DEFAULT).min(LONGEST);
        let created = self.now();
        let record =
            TokenRecord { id: TokenId::new(), user, created, expires: later(created, life) };
        self.store.add_token(&record).await?;
        self.sign(&record, None).await
    }

    /// The caller's tokens that have not ended, oldest first. Those of keys are not among them.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, HerdError> {
        Ok(self.store.tokens(self.user_id()?, self.now()).await?)
    }

    /// Takes a token back, which is refused from now on.
    pub async fn revoke_token(&self, id: TokenId) -> Result<(), HerdError> {
        match self.store.remove_token(self.user_id()?, id).await? {
            true => Ok(()),
            false => Err(HerdError::NoSuch { what: "token", name: id.to_string() }),
        }
    }

    pub(super) async fn token_of_key(&self, key: &KeyRecord) -> Result<Token, HerdError> {
        let created = self.now();
        let expires = later(created, OF_A_KEY).min(key.expires.unwrap_or(FAR));
        let record = TokenRecord { id: TokenId::new(), user: key.user, created, expires };
        self.sign(&record, Some(key.id)).await
    }

    async fn sign(&self, token: &TokenRecord, key: Option<KeyId>) -> Result<Token, HerdError> {
        let signing = self.signing_key().await?;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: token.user.to_string(),
            jti: token.id.to_string(),
            iat: token.created.millis() / 1000,
            exp: token.expires.millis() / 1000,
            key: key.map(|key| key.to_string()),
        };
        let header = Header { kid: Some(signing.id), ..Header::new(Algorithm::HS256) };
        let signed = encode(&header, &claims, &EncodingKey::from_secret(&signing.secret));
        let token_text = signed.map_err(|error| HerdError::Signature(error.to_string()))?;
        let expires = Timestamp::from_millis(claims.exp * 1000);
        Ok(Token { token: Secret::new(token_text), expires })
    }

    /// The key that signs now. A new one is made when there is none or the newest is old.
    async fn signing_key(&self) -> Result<SigningKey, HerdError> {
        let now = self.now();
        let newest = self.store.signing_keys().await?.into_iter().next();
        match newest.filter(|key| now < later(key.created, SIGNS)) {
            Some(key) => Ok(key),
            None => self.rotate(now).await,
        }
    }

    async fn rotate(&self, now: Timestamp) -> Result<SigningKey, HerdError> {
        let id = url_safe(&random::<9>()?);
        let key = SigningKey { id, secret: random::<32>()?.to_vec(), created: now };
        let keep = i64::try_from((SIGNS + LONGEST).as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from_millis(now.millis().saturating_sub(keep));
        self.store.add_signing_key(&key, oldest).await?;
        Ok(key)
    }

    /// A herd that acts for whoever shows a token.
    ///
    /// # Errors
    ///
    /// [`HerdError::Unauthenticated`]; it says no more than that the token is not valid, has
    /// expired or was revoked.
    pub async fn authenticate(&self, token: &str) -> Result<Self, HerdError> {
        let claims = self.verified(token).await?;
        if self.now().millis() >= claims.exp.saturating_mul(1000) {
            return Err(EXPIRED);
        }
        let user: UserId = claims.sub.parse().map_err(|_| INVALID)?;
        let still = match &claims.key {
            Some(key) => {
                let key: KeyId = key.parse().map_err(|_| INVALID)?;
                self.store.user_by_key(user, key).await?
            }
            None => {
                let token: TokenId = claims.jti.parse().map_err(|_| INVALID)?;
                self.store.user_by_token(user, token).await?
            }
        };
        still.map(|user| self.recognising(user)).ok_or(REVOKED)
    }

    async fn verified(&self, token: &str) -> Result<Claims, HerdError> {
        if token.len() > MAX_TOKEN {
            return Err(INVALID);
        }
        let header = decode_header(token).map_err(|_| INVALID)?;
        let id = header.kid.ok_or(INVALID)?;
        let key = match self.signers.find(&id) {
            Some(key) => key,
            None => {
                self.signers.set(self.store.signing_keys().await?);
                self.signers.find(&id).ok_or(INVALID)?
            }
        };
        let key = DecodingKey::from_secret(&key.secret);
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[ISSUER]);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        // By the herd's own clock, in `authenticate`.
        rules.validate_exp = false;
        decode(token, &key, &rules).map(|data| data.claims).map_err(|_| INVALID)
    }
}

/// The end of time.
const FAR: Timestamp = Timestamp::from_millis(i64::MAX);
