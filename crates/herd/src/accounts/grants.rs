//! What lets users act on boxes that they did not make.
//!
//! Whoever has a grant acts in the place of a box's owner, for the one call that names the box by its
//! engine: what the owner's networks, variables and quotas are stays what it is, whoever asks. Calls
//! that name a box without its engine mean boxes of one's own, and nothing here is asked then.

use boxherd_model::{Address, Caller, Grant, Target, UserId};

use super::Audited;
use crate::{Herd, HerdError};

/// Where changes of grants come from, in the audit log.
const SOURCE: &str = "host";

impl Herd {
    /// Lets a user act on boxes that it did not make. The host and administrators only.
    pub async fn grant(&self, user: UserId, grant: &Grant) -> Result<(), HerdError> {
        self.is_admin().await?;
        self.engine(Some(&grant.engine))?;
        self.store.grant(user, grant).await?;
        self.log("grant.add", user, grant).await;
        Ok(())
    }

    /// Takes that back; holds from the next call on. The host and administrators only.
    pub async fn revoke_grant(&self, user: UserId, grant: &Grant) -> Result<(), HerdError> {
        self.is_admin().await?;
        if !self.store.revoke_grant(user, grant).await? {
            return Err(HerdError::NoSuch { what: "grant", name: grant.to_string() });
        }
        self.log("grant.rm", user, grant).await;
        Ok(())
    }

    /// What a user may do beyond its own boxes. The host and administrators only.
    pub async fn grants(&self, user: UserId) -> Result<Vec<Grant>, HerdError> {
        self.is_admin().await?;
        Ok(self.store.grants(user).await?)
    }

    /// The herd of the owner of a box that is named by its engine, if the caller has a grant for it
    /// and no such box of its own. A machine there that is no box yet is adopted for the host, if the
    /// grant is for everybody's boxes.
    pub async fn in_place_of_owner(&self, address: &Address) -> Result<Option<Self>, HerdError> {
        let (Caller::User(user), Some(engine)) = (self.caller, &address.engine) else {
            return Ok(None);
        };
        match self.find(address).await {
            Err(HerdError::NoSuchBox(_)) => {}
            own => return own.map(|_| None),
        }
        let grants = self.store.grants(user).await?;
        let mut found = match &address.target {
            Target::Id(id) => self.store.box_by_id(*id).await?.into_iter().collect(),
            Target::Name(name) => {
                self.store.boxes_by_name(Caller::Host, Some(engine), name).await?
            }
        };
        if found.is_empty()
            && let Target::Name(name) = &address.target
            && grants.iter().any(|grant| grant.covers(engine, None))
        {
            // A machine that is no box yet becomes one of the host's.
            let host = self.acting_for(Caller::Host);
            return Ok(host.adopt(engine, name).await?.map(|_| host));
        }
        found.retain(|record| {
            record.engine == *engine
                && grants.iter().any(|grant| grant.covers(engine, record.owner))
        });
        match found.as_slice() {
            [] => Ok(None),
            [record] => {
                let owner = record.owner.map_or(Caller::Host, Caller::User);
                Ok(Some(self.acting_for(owner)))
            }
            several => {
                let of = several.iter().map(|record| format!("{engine}:{}", record.id)).collect();
                Err(HerdError::Ambiguous { name: address.to_string(), of })
            }
        }
    }

    async fn log(&self, action: &'static str, user: UserId, grant: &Grant) {
        let detail = format!("{user}: {grant}");
        let source = SOURCE.to_owned();
        self.audit(Audited { source, action, target: None, detail }, "ok").await;
    }
}
