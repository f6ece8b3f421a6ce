//! `config.yml`: what this client knows of it, and what it leaves as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct File {
    #[serde(rename = "default-remote", default)]
    pub(crate) default_remote: String,
    #[serde(default)]
    pub(crate) remotes: BTreeMap<String, RemoteEntry>,
    #[serde(flatten)]
    pub(crate) others: BTreeMap<String, Value>,
}

/// A remote, as it stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteEntry {
    /// `https://HOST:PORT`, or `unix://` for this machine's server.
    #[serde(default)]
    pub addr: String,
    /// `lxd`, `incus` or `simplestreams`; empty for the kind of the file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// `tls`; other kinds are not for this client.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub auth_type: String,
    /// The project that is used when none is asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// Whether it only has public images.
    #[serde(default)]
    pub public: bool,
    /// What else stands there.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

impl File {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| Error::invalid("`config.yml`", error))
    }

    pub(crate) fn print(&self) -> Result<String> {
        serde_saphyr::to_string(self).map_err(|error| Error::invalid("`config.yml`", error))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = "\
default-remote: lab
remotes:
  images:
    addr: https://images.example
    protocol: simplestreams
    public: true
  lab:
    addr: https://10.0.0.1:8443
    auth_type: tls
    project: p
    protocol: lxd
    public: false
    last_worked: [1, two, {three: null}]
aliases:
  ll: list -c ns
";

    #[test]
    fn what_is_not_known_is_kept() {
        let file = File::parse(SAMPLE).unwrap();
        assert_eq!(file.default_remote, "lab");
        assert_eq!(file.remotes["lab"].project, "p");
        assert!(file.remotes["images"].public);
        let again = File::parse(&file.print().unwrap()).unwrap();
        assert_eq!(again, file);
        assert_eq!(again.others["aliases"]["ll"], "list -c ns");
        assert_eq!(again.remotes["lab"].others["last_worked"][1], "two");
    }

    #[test]
    fn empty_and_broken_files_are_told_apart() {
        assert_eq!(File::parse("").unwrap(), File::default());
        assert_eq!(File::parse("{}\n").unwrap(), File::default());
        assert!(File::parse("remotes: [").is_err());
        assert!(File::parse("remotes: 7").is_err());
    }

    proptest! {
        #[test]
        fn names_and_projects_survive(name in "[a-z0-9][a-z0-9.-]{0,20}", project in ".{0,20}") {
            let entry = RemoteEntry { addr: "unix://".into(), project, ..Default::default() };
            let remotes = BTreeMap::from([(name, entry)]);
            let file = File { remotes, ..File::default() };
            prop_assert_eq!(File::parse(&file.print().unwrap()).unwrap(), file);
        }
    }
}
