//! What is not there: maps and lists that a server has nothing in come as `null` now and then, as while an
//! instance is being copied.

use serde::{Deserialize, Deserializer};

/// `null` as what is empty.
pub(crate) fn is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An empty text as what is the default.
pub(crate) fn is_unsaid<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said<T> {
        Something(T),
        Text(String),
    }
    match Said::deserialize(deserializer)? {
        Said::Something(value) => Ok(value),
        Said::Text(text) if text.is_empty() => Ok(T::default()),
        Said::Text(text) => Err(serde::de::Error::custom(format!("`{text}` is unknown"))),
    }
}
