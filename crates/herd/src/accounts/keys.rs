//! API keys: long-lived secrets that are exchanged for tokens.

use std::time::Duration;

use boxherd_model::{KeyId, Timestamp, UserId};
use boxherd_store::KeyRecord;
use sha2::{Digest as _, Sha256};

use super::{Secret, Token, random, url_safe};
use crate::{Herd, HerdError};

/// What every key that we make begins with.
const PREFIX: &str = "bxd_";
/// Characters of a key that are kept for people to recognise it.
const SHOWN: usize = 12;
/// The shortest key that is taken from outside, in bytes.
const SHORTEST: usize = 20;
/// The longest key that is looked at, in bytes.
const LONGEST: usize = 512;

/// A key that was just made: the only time that it is seen.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What is kept of it.
    pub record: KeyRecord,
    /// The key.
    pub key: Secret,
}

impl Herd {
    /// Makes a key for a user.
    pub async fn make_key(
        &self,
        user: UserId,
        name: &str,
        life: Option<Duration>,
    ) -> Result<NewKey, HerdError> {
        let key = Secret::new(format!("{PREFIX}{}", url_safe(&random::<32>()?)));
        self.keep_key(user, name, life, key).await
    }

    pub(super) async fn keep_key(
        &self,
        user: UserId,
        name: &str,
        life: Option<Duration>,
        key: Secret,
    ) -> Result<NewKey, HerdError> {
        self.may_act_for(user).await?;
        let created = self.now();
        let text = key.reveal();
        if !(SHORTEST..=LONGEST).contains(&text.len())
            || !text.bytes().all(|b| b.is_ascii_graphic())
        {
            let reason = format!("use {SHORTEST} to {LONGEST} visible characters");
            return Err(HerdError::Invalid { field: "api key", reason });
        }
        let record = KeyRecord {
            id: KeyId::new(),
            user,
            name: name.to_owned(),
            hash: hash(text),
            prefix: text[..SHOWN].to_owned(),
            created,
            expires: life.map(|life| later(created, life)),
            last_used: None,
        };
        self.store.add_key(&record).await?;
        Ok(NewKey { record, key })
    }

    /// The keys of a user, oldest first.
    pub async fn keys(&self, user: UserId) -> Result<Vec<KeyRecord>, HerdError> {
        self.may_act_for(user).await?;
        Ok(self.store.keys(user).await?)
    }

    /// Takes a key back. Tokens that it was exchanged for are refused from now on.
    pub async fn remove_key(&self, id: KeyId) -> Result<(), HerdError> {
        let none = || HerdError::NoSuch { what: "API key", name: id.to_string() };
        let key = self.store.key(id).await?.ok_or_else(none)?;
        // To others it is not even there.
        self.may_act_for(key.user).await.map_err(|_| none())?;
        match self.store.remove_key(key.user, id).await? {
            true => Ok(()),
            false => Err(none()),
        }
    }

    /// A token for whoever shows a key.
    pub async fn exchange(&self, key: &str) -> Result<Token, HerdError> {
        if key.is_empty() || key.len() > LONGEST {
            return Err(HerdError::Unauthenticated("the API key is not valid"));
        }
        // Looked up by its hash: how long that takes says nothing about the key.
        let found = self.store.key_by_hash(&hash(key)).await?;
        let now = self.now();
        let record = found
            .filter(|record| record.expires.is_none_or(|expires| now < expires))
            .ok_or(HerdError::Unauthenticated("the API key is not valid"))?;
        self.store.touch_key(record.id, now).await?;
        self.token_of_key(&record).await
    }
}

fn hash(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time that is further away than there are numbers for never comes.
pub(super) fn later(from: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(from.millis().saturating_add(millis))
}
