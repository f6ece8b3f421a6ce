//! Who asks: users, and what names them and their keys.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, UserId};

/// Whom a request is served for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Whoever may open the data folder itself: the embedded command line, and the server's own
    /// work. Sees every box.
    Host,
    /// A user of the server. Sees boxes of its own and no others.
    User(UserId),
}

impl Caller {
    /// The user, unless it is the host.
    #[must_use]
    pub const fn user(self) -> Option<UserId> {
        match self {
            Self::Host => None,
            Self::User(id) => Some(id),
        }
    }

    /// Whether what belongs to `owner` is there for this caller.
    #[must_use]
    pub fn sees(self, owner: Option<UserId>) -> bool {
        match self {
            Self::Host => true,
            Self::User(id) => owner == Some(id),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.pad("host"),
            Self::User(id) => fmt::Display::fmt(id, f),
        }
    }
}

/// How much a user may have at once. `None` is as much as the host has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Boxes in any state.
    pub boxes: Option<u32>,
    /// Memory limits of all boxes that have processes, together.
    pub memory: Option<ByteSize>,
    /// Disk limits of all boxes and sizes of all disks, together.
    pub disk: Option<ByteSize>,
    /// Commands that run at once.
    pub execs: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_see_their_own_and_the_host_sees_all() {
        let (one, other) = (UserId::new(), UserId::new());
        for owner in [None, Some(one), Some(other)] {
            assert!(Caller::Host.sees(owner));
            assert_eq!(Caller::User(one).sees(owner), owner == Some(one));
        }
    }
}
