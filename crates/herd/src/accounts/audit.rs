//! The log of what was asked for, by whom, and what came of it.

use std::fmt;
use std::sync::Arc;

use boxherd_model::BoxId;
use boxherd_store::AuditEntry;

use crate::{Herd, HerdError};

/// Where a request came from: an address, or the name of a front door. Front doors put it among the
/// extensions of what they hand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(Arc<str>);

impl Source {
    /// Names where requests come from.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is written into the audit log besides who and when.
#[derive(Debug, Clone, Default)]
pub struct Audited {
    /// Where the request came from.
    pub source: String,
    /// What was asked for.
    pub action: &'static str,
    /// The box it was done to.
    pub target: Option<BoxId>,
    /// What else tells what was asked for. Never a secret.
    pub detail: String,
}

/// How much is kept of what was asked for, in characters: nobody fills the log with a name.
const LONGEST: usize = 512;

impl Herd {
    /// Writes into the audit log what came of a request: `ok`, or the code of an error. A log that cannot be written does not undo what was done: it is
    /// reported as an error of the server's.
    pub async fn audit(&self, audited: Audited, outcome: &'static str) {
        let Audited { source, action, target, detail } = audited;
        let entry = AuditEntry {
            at: self.now(),
            user: self.caller.user(),
            source,
            action: action.to_owned(),
            target,
            detail: detail.chars().take(LONGEST).collect(),
            outcome: outcome.to_owned(),
        };
        tracing::info!(target: "audit", ?entry);
        if let Err(error) = self.store.audit(&entry).await {
            tracing::error!(%error, ?entry, "not written into the audit log");
        }
    }

    /// The newest entries, newest first. The host and administrators only.
    pub async fn audited(&self, limit: u32) -> Result<Vec<AuditEntry>, HerdError> {
        self.is_admin().await?;
        Ok(self.store.audited(limit).await?)
    }
}
