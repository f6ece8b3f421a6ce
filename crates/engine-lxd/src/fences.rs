//! Who may change a box, where several servers work under leases and each could think that it is the one.
//!
//! The greatest token that came with a claim stands in the configuration of the instance. Whoever changes
//! a box that it claimed looks first whether that token is still its own: a server that stood still
//! between two steps is turned away. One that stands still between the look and the change, of some
//! milliseconds, is not: LXD takes no condition along with a change of state.

use std::collections::HashMap;

use boxherd_engine::EngineError;
use boxherd_lxd_client::{Error, InstanceInfo, InstancePut};
use boxherd_model::BoxId;
use parking_lot::Mutex;

use crate::error::failed_of;
use crate::marks;
use crate::server::Known;

/// What was claimed over this handle.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<HashMap<BoxId, Claim>>);

#[derive(Debug, Clone, Copy)]
struct Claim {
    token: u64,
    /// There is an instance, or was: one that is gone was removed by somebody who claimed it later.
    there: bool,
}

impl Claims {
    fn put(&self, id: BoxId, claim: Claim) {
        self.0.lock().insert(id, claim);
    }

    fn get(&self, id: BoxId) -> Option<Claim> {
        self.0.lock().get(&id).copied()
    }

    /// What an instance that is about to be made says of the claim.
    pub(crate) fn mark(&self, id: BoxId) -> Option<(String, String)> {
        let token = self.get(id)?.token;
        Some((marks::FENCE.to_owned(), token.to_string()))
    }

    /// An instance was made.
    pub(crate) fn is_there(&self, id: BoxId) {
        if let Some(claim) = self.0.lock().get_mut(&id) {
            claim.there = true;
        }
    }

    pub(crate) fn forget(&self, id: BoxId) {
        self.0.lock().remove(&id);
    }
}

impl Known {
    /// Writes down that whoever has this handle has `token`, unless another has a greater one.
    pub(crate) async fn claim(&self, id: BoxId, token: u64) -> Result<(), EngineError> {
        let there = loop {
            let Some((instance, info)) = self.info(id).await? else { break false };
            let noted = marks::fence(&info);
            if noted > token {
                return Err(EngineError::Fenced(id));
            }
            if noted == token {
                break true;
            }
            let written = async {
                let (info, tag) = instance.get_tagged().await?;
                // Somebody was faster, or it is another by now.
                if marks::fence(&info) != noted || self.ours(&info) != Some(id) {
                    return Ok(false);
                }
                let mut new = InstancePut::from(info);
                new.config.insert(marks::FENCE.to_owned(), token.to_string());
                instance.put(&new, Some(&tag)).await?.wait().await.map(|_| true)
            };
            match written.await {
                Ok(true) => break true,
                Ok(false) | Err(Error::Changed { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(failed_of(id, "note who may change the box")(error)),
            }
        };
        self.claims.put(id, Claim { token, there });
        Ok(())
    }

    /// Lets a change of a box begin that was claimed over this handle last, or over none.
    pub(crate) async fn enter(&self, id: BoxId) -> Result<(), EngineError> {
        let Some(claim) = self.claims.get(id) else { return Ok(()) };
        let found = self.info(id).await?;
        match holds(claim, found.as_ref().map(|(_, info)| info)) {
            true => Ok(()),
            false => Err(EngineError::Fenced(id)),
        }
    }
}

fn holds(claim: Claim, found: Option<&InstanceInfo>) -> bool {
    match found {
        Some(info) => marks::fence(info) == claim.token,
        None => !claim.there,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_until_another_is_noted_or_the_box_is_removed() {
        let info = |token: &str| InstanceInfo {
            config: [(marks::FENCE.to_owned(), token.to_owned())].into(),
            ..InstanceInfo::default()
        };
        let claim = |there| Claim { token: 2, there };
        assert!(holds(claim(true), Some(&info("2"))));
        assert!(!holds(claim(true), Some(&info("3"))));
        assert!(!holds(claim(true), Some(&info("1"))), "a copy of what it was");
        assert!(!holds(claim(true), Some(&InstanceInfo::default())));
        assert!(!holds(claim(true), None));
        assert!(holds(claim(false), None), "it is to be made");
    }
}
