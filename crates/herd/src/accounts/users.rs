//! Users.

use boxherd_model::{Caller, Quota, UserId, UserName};
use boxherd_store::UserRecord;

use super::{NewKey, Secret};
use crate::{Herd, HerdError};

/// Whom a herd acts for.
#[derive(Debug, Clone)]
pub struct Whoami {
    /// The user.
    pub user: UserRecord,
    /// Fingerprints of the public keys the user has linked.
    pub fingerprints: Vec<String>,
}

impl Herd {
    /// On a store without users: makes the first one, an administrator, with a key (`given`, or one
    /// that is made up), and gives the key back. Nothing otherwise, unless `given` is no key of
    /// anybody's: then it becomes one of the first administrator's.
    pub async fn bootstrap(&self, given: Option<Secret>) -> Result<Option<NewKey>, HerdError> {
        const KEY_NAME: &str = "bootstrap";
        let first = self.store.users().await?.into_iter().find(|user| user.admin);
        let is_known = match &given {
            Some(key) => self.exchange(key.reveal()).await.is_ok(),
            None => true,
        };
        let user = match first {
            Some(_) if is_known => return Ok(None),
            Some(user) => user,
            None => self.add_user(admin_name(), true, Quota::default()).await?,
        };
        let made = match given {
            Some(key) => self.keep_key(user.id, KEY_NAME, None, key).await?,
            None => self.make_key(user.id, KEY_NAME, None).await?,
        };
        Ok(Some(made))
    }

    /// Makes a user. The host and administrators only.
    pub async fn add_user(
        &self,
        name: UserName,
        admin: bool,
        quota: Quota,
    ) -> Result<UserRecord, HerdError> {
        self.is_admin().await?;
        let user = UserRecord { id: UserId::new(), name, admin, quota, created: self.now() };
        self.store.add_user(&user).await?;
        Ok(user)
    }

    /// Changes what a user may do and have. The host and administrators only.
    pub async fn change_user(
        &self,
        name: &UserName,
        change: impl FnOnce(&mut UserRecord) + Send,
    ) -> Result<UserRecord, HerdError> {
        let mut user = self.user_named(name).await?;
        change(&mut user);
        self.store.update_user(&user).await?;
        Ok(user)
    }

    /// Every user. The host and administrators only.
    pub async fn users(&self) -> Result<Vec<UserRecord>, HerdError> {
        self.is_admin().await?;
        Ok(self.store.users().await?)
    }

    /// The user of that name. The host and administrators only.
    pub async fn user_named(&self, name: &UserName) -> Result<UserRecord, HerdError> {
        self.is_admin().await?;
        let found = self.store.user_by_name(name).await?;
        found.ok_or_else(|| HerdError::NoSuch { what: "user", name: name.to_string() })
    }

    /// The user of that name, who is made when there is none; the first one of all is an administrator.
    /// The host and administrators only.
    pub async fn user_or_new(&self, name: &UserName) -> Result<UserId, HerdError> {
        let users = self.users().await?;
        if let Some(user) = users.iter().find(|user| user.name == *name) {
            return Ok(user.id);
        }
        let first = users.is_empty();
        Ok(self.add_user(name.clone(), first, Quota::default()).await?.id)
    }

    /// Whom this herd acts for.
    pub async fn whoami(&self) -> Result<Whoami, HerdError> {
        let id = self.user_id()?;
        let user = self.user(id).await?;
        let keys = self.store.ssh_keys(id).await?;
        Ok(Whoami { user, fingerprints: keys.into_iter().map(|key| key.fingerprint).collect() })
    }

    pub(crate) async fn user(&self, id: UserId) -> Result<UserRecord, HerdError> {
        let found = self.store.user(id).await?;
        found.ok_or_else(|| HerdError::NoSuch { what: "user", name: id.to_string() })
    }

    /// The user for whom this acts.
    pub fn user_id(&self) -> Result<UserId, HerdError> {
        self.caller.user().ok_or(HerdError::Denied("this is for users, and the host is none"))
    }

    /// Users act for themselves; administrators and the host for everybody.
    pub(super) async fn may_act_for(&self, user: UserId) -> Result<(), HerdError> {
        match self.caller {
            Caller::User(id) if id == user => Ok(()),
            _ => self.is_admin().await,
        }
    }

    /// Refuses whoever is no administrator; the host is one.
    pub async fn is_admin(&self) -> Result<(), HerdError> {
        match self.caller {
            Caller::Host => Ok(()),
            Caller::User(id) if self.user(id).await?.admin => Ok(()),
            Caller::User(_) => Err(HerdError::Denied("this is for administrators")),
        }
    }
}

fn admin_name() -> UserName {
    "admin".parse().expect("a DNS label")
}
