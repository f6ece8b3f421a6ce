//! Names that people type: boxes, engines, networks, snapshots.

use std::str::FromStr;

use crate::text::text_newtype;

/// The longest name, in bytes: a DNS label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// The name of a box: a DNS label of lower-case letters, digits and `-`, 1 to 63 bytes, that
/// neither begins nor ends with `-`. It is also the box's host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoxName(String);

/// The name of a configured engine, such as `local` or `homelab`; the same rules as [`BoxName`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineName(String);

/// The name of a network; the same rules as [`BoxName`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkName(String);

/// The name of a snapshot, unique within its box; the same rules as [`BoxName`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName(String);

/// The name of a user; the same rules as [`BoxName`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("the name is empty")]
    Empty,
    /// More than 63 bytes were given.
    #[error("the name has {length} bytes, at most 63 are allowed")]
    TooLong {
        /// The length of what was given, in bytes.
        length: usize,
    },
    /// A character outside `a-z0-9-`.
    #[error("the name has {character:?}, only `a-z`, `0-9` and `-` are allowed")]
    BadCharacter {
        /// The first character that is not allowed.
        character: char,
    },
    /// The name begins or ends with `-`.
    #[error("the name begins or ends with `-`")]
    OuterHyphen,
}

fn validate(text: &str) -> Result<String, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_LABEL {
        return Err(NameError::TooLong { length: text.len() });
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(character) = text.chars().find(|c| !allowed(*c)) {
        return Err(NameError::BadCharacter { character });
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::OuterHyphen);
    }
    Ok(text.to_owned())
}

macro_rules! dns_label {
    ($name:ident) => {
        text_newtype!($name);

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                validate(text).map(Self)
            }
        }
    };
}

dns_label!(BoxName);
dns_label!(EngineName);
dns_label!(NetworkName);
dns_label!(SnapshotName);
dns_label!(UserName);

impl EngineName {
    /// The engine that runs boxes on this machine.
    #[must_use]
    pub fn local() -> Self {
        Self("local".to_owned())
    }
}

impl NetworkName {
    /// The network a box joins when its spec names none.
    #[must_use]
    pub fn default_network() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_edges_of_a_dns_label() {
        assert!("a".parse::<BoxName>().is_ok());
        assert!("a".repeat(63).parse::<BoxName>().is_ok());
        assert_eq!("".parse::<BoxName>(), Err(NameError::Empty));
        assert_eq!("a".repeat(64).parse::<BoxName>(), Err(NameError::TooLong { length: 64 }));
        for (text, character) in [("a/b", '/'), ("Web", 'W'), ("büro", 'ü'), ("a.b", '.')] {
            assert_eq!(text.parse::<BoxName>(), Err(NameError::BadCharacter { character }));
        }
        assert_eq!("-a".parse::<BoxName>(), Err(NameError::OuterHyphen));
        assert_eq!("a-".parse::<BoxName>(), Err(NameError::OuterHyphen));
    }

    proptest! {
        #[test]
        fn whatever_parses_prints_as_it_was(text in "\\PC{0,70}") {
            if let Ok(name) = text.parse::<BoxName>() {
                prop_assert_eq!(name.to_string(), text);
                prop_assert!(name.as_str().len() <= 63);
            }
        }

        #[test]
        fn every_dns_label_parses(text in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            prop_assert!(text.parse::<BoxName>().is_ok());
        }
    }
}
