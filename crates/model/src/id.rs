//! Ids that programs compare: UUIDv7, so that they sort by the time they were made.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::text::serde_as_text;

/// The text is not a UUID of version 7.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a UUID of version 7")]
pub struct ParseIdError {
    text: String,
}

macro_rules! uuid_v7 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, unique and later than every earlier one of this process.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a default that differs each time misleads")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The 16 bytes of the id.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let refused = || ParseIdError { text: text.to_owned() };
                let id = Uuid::parse_str(text).map_err(|_| refused())?;
                (id.get_version_num() == 7).then_some(Self(id)).ok_or_else(refused)
            }
        }

        serde_as_text!($name);
    };
}

uuid_v7! {
    /// Identifies a box for ever; a name can change hands, an id cannot.
    BoxId
}
uuid_v7! {
    /// Identifies one operation in the journal.
    OperationId
}
uuid_v7! {
    /// Identifies a disk that boxes mount.
    DiskId
}

/// A disk is something its user has, and its engine knows it by the same id.
impl From<ThingId> for DiskId {
    fn from(id: ThingId) -> Self {
        Self(id.0)
    }
}

uuid_v7! {
    /// Identifies a snapshot.
    SnapshotId
}
uuid_v7! {
    /// Identifies a user for ever.
    UserId
}
uuid_v7! {
    /// Identifies an API key, without being it.
    KeyId
}
uuid_v7! {
    /// Identifies a token (its `jti`).
    TokenId
}
uuid_v7! {
    /// Identifies something a user has besides boxes: a disk, a template, a network, a domain, …
    ThingId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_sort_by_age() {
        let (first, second) = (BoxId::new(), BoxId::new());
        assert!(first < second);
        assert_eq!(first.to_string().parse(), Ok(first));
    }

    #[test]
    fn other_uuid_versions_are_refused() {
        assert!("6fa459ea-ee8a-4ca4-894e-db77e160355e".parse::<BoxId>().is_err());
        assert!("not-a-uuid".parse::<BoxId>().is_err());
    }
}
