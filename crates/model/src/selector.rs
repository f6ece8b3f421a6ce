//! Choosing boxes by their labels.

use std::fmt;
use std::str::FromStr;

use crate::Labels;

/// A condition on labels: `KEY=VALUE`, `KEY!=VALUE`, `KEY` (there is such a label), `!KEY` (there is
/// none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    key: String,
    wants: Wants,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wants {
    Equal(String),
    Other(String),
    Present,
    Absent,
}

/// The text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` selects nothing, use `KEY=VALUE`, `KEY!=VALUE`, `KEY` or `!KEY`")]
pub struct SelectorError(String);

impl Selector {
    /// Whether a box with these labels is meant.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        let label = labels.get(&self.key);
        match &self.wants {
            Wants::Equal(value) => label == Some(value),
            Wants::Other(value) => label != Some(value),
            Wants::Present => label.is_some(),
            Wants::Absent => label.is_none(),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let (key, wants) = if let Some((key, value)) = text.split_once("!=") {
            (key, Wants::Other(value.to_owned()))
        } else if let Some((key, value)) = text.split_once('=') {
            (key, Wants::Equal(value.to_owned()))
        } else if let Some(key) = text.strip_prefix('!') {
            (key, Wants::Absent)
        } else {
            (text, Wants::Present)
        };
        match key.is_empty() || key.contains(['!', '=', ',']) {
            true => Err(SelectorError(text.to_owned())),
            false => Ok(Self { key: key.to_owned(), wants }),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.wants {
            Wants::Equal(value) => write!(f, "{key}={value}"),
            Wants::Other(value) => write!(f, "{key}!={value}"),
            Wants::Present => f.write_str(key),
            Wants::Absent => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        selector.parse::<Selector>().unwrap().selects(&labels.iter().map(own).collect())
    }

    #[test]
    fn selectors_select() {
        let labels = [("tier", "front"), ("empty", "")];
        for yes in ["tier=front", "tier", "!other", "tier!=back", "empty=", "other!=x", "empty"] {
            assert!(selects(yes, &labels), "{yes}");
        }
        for no in ["tier=back", "other", "!tier", "tier!=front", "other="] {
            assert!(!selects(no, &labels), "{no}");
        }
        for bad in ["", "=a", "!", "!=a", "!!a"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn selectors_print_as_they_parse(text in "!?[a-z]{1,4}(!?=[a-z=!]{0,4})?") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string().parse(), Ok(selector));
            }
        }
    }
}
