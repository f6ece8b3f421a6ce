//! What a user may do beyond boxes of its own.

use std::fmt;
use std::str::FromStr;

use crate::{EngineName, UserId};

/// Lets a user act on boxes that it did not make: those of an engine, or those that one owner has
/// there. Written `ENGINE` or `ENGINE/OWNER`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// The engine.
    pub engine: EngineName,
    /// Whose boxes there; everybody's when `None`, the host's among them.
    pub owner: Option<UserId>,
}

impl Grant {
    /// Whether a box of `owner` on `engine` is among those that it is about.
    #[must_use]
    pub fn covers(&self, engine: &EngineName, owner: Option<UserId>) -> bool {
        self.engine == *engine && (self.owner.is_none() || self.owner == owner)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            None => f.pad(self.engine.as_str()),
            Some(owner) => write!(f, "{}/{owner}", self.engine),
        }
    }
}

/// The text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no engine, and no owner on one")]
pub struct GrantError(String);

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let refused = || GrantError(text.to_owned());
        let (engine, owner) = match text.split_once('/') {
            None => (text, None),
            Some((engine, owner)) => (engine, Some(owner.parse().map_err(|_| refused())?)),
        };
        Ok(Self { engine: engine.parse().map_err(|_| refused())?, owner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_for_an_engine_or_for_one_owner_there() {
        let (ann, bob) = (UserId::new(), UserId::new());
        let (local, lab) = (EngineName::local(), "lab".parse::<EngineName>().unwrap());
        let whole = Grant { engine: local.clone(), owner: None };
        let anns = Grant { engine: local.clone(), owner: Some(ann) };
        for owner in [None, Some(ann), Some(bob)] {
            assert!(whole.covers(&local, owner));
            assert!(!whole.covers(&lab, owner));
            assert_eq!(anns.covers(&local, owner), owner == Some(ann));
            assert!(!anns.covers(&lab, owner));
        }
    }

    #[test]
    fn grants_are_read_as_they_are_written() {
        let engine = EngineName::local();
        for owner in [None, Some(UserId::new())] {
            let grant = Grant { engine: engine.clone(), owner };
            assert_eq!(grant.to_string().parse::<Grant>().unwrap(), grant);
        }
        for text in ["", "/", "local/", "local/ann", "Local", "a/b/c"] {
            assert!(text.parse::<Grant>().is_err(), "{text}");
        }
    }
}
