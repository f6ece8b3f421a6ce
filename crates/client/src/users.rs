//! Who there is on a server.

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// The users of a server. For administrators; Boxherd alone offers it.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// use boxherd_client::Quota;
///
/// let quota = Quota { boxes: Some(5), ..Quota::default() };
/// client.users().create("bob", false, quota).await?;
/// let key = client.keys().create_for("bob", "laptop", None).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Users {
    client: Client,
}

/// How much a user may have at once; `None` is as much as the host has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Boxes in any state.
    pub boxes: Option<u32>,
    /// Memory limits of all boxes that have processes, together, in bytes.
    pub memory: Option<u64>,
    /// Disk limits of all boxes, together, in bytes.
    pub disk: Option<u64>,
    /// Commands at once.
    pub execs: Option<u32>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// For ever.
    pub id: String,
    /// Unique.
    pub name: String,
    /// May do what the host may.
    pub admin: bool,
    /// How much the user may have.
    pub quota: Quota,
}

/// What is to be different about a user. What is `None` stays; `Some(None)` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserChange {
    /// Whether it may do what the host may.
    pub admin: Option<bool>,
    /// Boxes in any state.
    pub boxes: Option<Option<u32>>,
    /// In bytes.
    pub memory: Option<Option<u64>>,
    /// In bytes.
    pub disk: Option<Option<u64>>,
    /// Commands at once.
    pub execs: Option<Option<u32>>,
}

/// Boxes on which a user may act that it did not make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// On this engine.
    pub engine: String,
    /// Those of this user, or everybody's. Listed, an owner who is gone is an id.
    pub owner: Option<String>,
}

impl Users {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a user.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.users().create("bob", false, Default::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, name: &str, admin: bool, quota: Quota) -> Result<User, Error> {
        let limit = |at_most| Some(api::BoxherdLimit { at_most });
        let quota = api::BoxherdQuota {
            boxes: limit(quota.boxes.map(u64::from)),
            memory: limit(quota.memory),
            disk: limit(quota.disk),
            execs: limit(quota.execs.map(u64::from)),
        };
        let asked =
            api::BoxherdCreateUserRequest { name: name.to_owned(), admin, quota: Some(quota) };
        shown(ask!(self.client, Changes, boxherd_create_user, asked)?)
    }

    /// Every user, by name.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// for user in client.users().list().await? {
    ///     println!("{} {:?}", user.name, user.quota);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<User>, Error> {
        let asked = api::BoxherdListUsersRequest {};
        let listed = ask!(self.client, Looks, boxherd_list_users, asked)?;
        listed.users.into_iter().map(shown).collect()
    }

    /// Changes what a user may do and have.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// use boxherd_client::UserChange;
    ///
    /// let change = UserChange { boxes: Some(Some(10)), ..UserChange::default() };
    /// client.users().change("bob", change).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn change(&self, name: &str, change: UserChange) -> Result<User, Error> {
        let limit = |at_most| api::BoxherdLimit { at_most };
        let count = |at_most: Option<u32>| limit(at_most.map(u64::from));
        let quota = api::BoxherdQuota {
            boxes: change.boxes.map(count),
            memory: change.memory.map(limit),
            disk: change.disk.map(limit),
            execs: change.execs.map(count),
        };
        let asked = api::BoxherdChangeUserRequest {
            name: name.to_owned(),
            admin: change.admin,
            quota: Some(quota),
        };
        shown(ask!(self.client, Changes, boxherd_change_user, asked)?)
    }

    /// Lets a user act on boxes that it did not make, which it then names `ENGINE:BOX`.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// use boxherd_client::Grant;
    ///
    /// let grant = Grant { engine: "local".to_owned(), owner: Some("ann".to_owned()) };
    /// client.users().grant("bob", &grant).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn grant(&self, user: &str, grant: &Grant) -> Result<(), Error> {
        let (user, grant) = (user.to_owned(), Some(entry(grant)));
        let asked = api::BoxherdGrantRequest { user, grant };
        ask!(self.client, Changes, boxherd_grant, asked).map(drop)
    }

    /// Takes that back, from the next call on.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// for grant in client.users().grants("bob").await? {
    ///     client.users().revoke("bob", &grant).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke(&self, user: &str, grant: &Grant) -> Result<(), Error> {
        let (user, grant) = (user.to_owned(), Some(entry(grant)));
        let asked = api::BoxherdRevokeGrantRequest { user, grant };
        ask!(self.client, Changes, boxherd_revoke_grant, asked).map(drop)
    }

    /// What a user may do beyond its own boxes.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{:?}", client.users().grants("bob").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn grants(&self, user: &str) -> Result<Vec<Grant>, Error> {
        let asked = api::BoxherdListGrantsRequest { user: user.to_owned() };
        let listed = ask!(self.client, Looks, boxherd_list_grants, asked)?;
        let grant = |entry: api::BoxherdGrantEntry| Grant {
            engine: entry.engine,
            owner: Some(entry.owner).filter(|owner| !owner.is_empty()),
        };
        Ok(listed.grants.into_iter().map(grant).collect())
    }
}

fn entry(grant: &Grant) -> api::BoxherdGrantEntry {
    let owner = grant.owner.clone().unwrap_or_default();
    api::BoxherdGrantEntry { engine: grant.engine.clone(), owner }
}

fn shown(user: api::BoxherdUser) -> Result<User, Error> {
    let limit = |limit: Option<api::BoxherdLimit>| limit.and_then(|limit| limit.at_most);
    let count = |asked| {
        let count = limit(asked).map(u32::try_from).transpose();
        count.map_err(|_| Error::server("a limit is larger than any that there is"))
    };
    let api::BoxherdUser { id, name, admin, quota } = user;
    let quota = quota.unwrap_or_default();
    let quota = Quota {
        boxes: count(quota.boxes)?,
        memory: limit(quota.memory),
        disk: limit(quota.disk),
        execs: count(quota.execs)?,
    };
    Ok(User { id, name, admin, quota })
}
