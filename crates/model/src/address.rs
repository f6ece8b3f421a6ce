//! How a box is named from outside: `NAME` or `ENGINE:NAME`, as `lxc` writes it.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::{BoxId, BoxName, EngineName, NameError};

/// Names one box: by name or id, on an engine that may be left open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The engine, when the caller named one.
    pub engine: Option<EngineName>,
    /// What the box is called.
    pub target: Target,
}

/// The part of an [`Address`] after the engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// By name, unique within an engine.
    Name(BoxName),
    /// By id, unique everywhere.
    Id(BoxId),
}

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The part before `:` is no engine name.
    #[error("`{text}` names no engine")]
    Engine {
        /// The part before the colon.
        text: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// The part after `:` is neither a name nor an id.
    #[error("`{text}` names no box")]
    Name {
        /// The part after the colon, or the whole.
        text: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
}

impl Address {
    /// The box called `name`, on whichever engine has it.
    #[must_use]
    pub fn of(name: BoxName) -> Self {
        Self { engine: None, target: Target::Name(name) }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (engine, rest) = match text.split_once(':') {
            Some((engine, rest)) => {
                let parsed = engine
                    .parse()
                    .map_err(|source| AddressError::Engine { text: engine.to_owned(), source })?;
                (Some(parsed), rest)
            }
            None => (None, text),
        };
        // An id is also a valid DNS label, so it is tried first.
        let target = match rest.parse::<BoxId>() {
            Ok(id) => Target::Id(id),
            Err(_) => Target::Name(
                rest.parse()
                    .map_err(|source| AddressError::Name { text: rest.to_owned(), source })?,
            ),
        };
        Ok(Self { engine, target })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.engine {
            Some(engine) => write!(f, "{engine}:{}", self.target),
            None => self.target.fmt(f),
        }
    }
}

serde_as_text!(Address);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        let id = BoxId::new();
        for text in ["web1", "homelab:101", &id.to_string(), &format!("local:{id}")] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), *text);
        }
        assert!(matches!(id.to_string().parse::<Address>().unwrap().target, Target::Id(_)));
    }

    #[test]
    fn bad_halves_are_told_apart() {
        assert!(matches!("a_b:c".parse::<Address>(), Err(AddressError::Engine { .. })));
        assert!(matches!("a:".parse::<Address>(), Err(AddressError::Name { .. })));
        assert!(matches!("a:b:c".parse::<Address>(), Err(AddressError::Name { .. })));
    }
}
