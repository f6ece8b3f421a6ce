//! What `doctor` prints.

use serde::{Deserialize, Serialize};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, such as `cgroup memory`.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found, one sentence.
    pub found: String,
    /// What to do to make it work, when something can be done.
    pub fix: Option<String>,
}

/// How a [`Check`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It works.
    Works,
    /// It is missing, and boxes run with fewer capabilities.
    Missing,
    /// It is missing, and no box runs without it.
    Broken,
}
