//! The log of what was asked for, by whom, and what came of it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use boxherd_model::{BoxId, UserId};
use boxherd_store::AuditEntry;
use serde::Serialize;

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

/// The code of a store that is locked by somebody else.
const STORE_BUSY: &str = "store-busy";

impl Herd {
    /// Writes into the audit log what came of a request: `ok`, or the code of an error. A log that
    /// cannot be written does not undo what was done: it is reported as an error of the server's.
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
        tracing::debug!(target: "audit", ?entry);
        self.metrics.asked(action, outcome);
        if let Some(path) = &self.config.audit
            && let Err(error) = append(path, &entry)
        {
            let path = path.display();
            tracing::error!(%error, %path, ?entry, "not written into the audit log's file");
        }
        // A store that has just been waited for in vain is not waited for again; the file has it.
        if outcome != STORE_BUSY
            && let Err(error) = self.store.audit(&entry).await
        {
            tracing::error!(%error, ?entry, "not written into the audit log");
        }
    }

    /// The newest entries, newest first. The host and administrators only.
    pub async fn audited(&self, limit: u32) -> Result<Vec<AuditEntry>, HerdError> {
        self.is_admin().await?;
        Ok(self.store.audited(limit).await?)
    }
}

/// A line of the audit log's file.
#[derive(Serialize)]
struct Line<'a> {
    /// As in RFC 3339, in UTC.
    at: String,
    user: Option<UserId>,
    source: &'a str,
    action: &'a str,
    #[serde(rename = "box")]
    target: Option<BoxId>,
    detail: &'a str,
    outcome: &'a str,
}

/// Adds a line. The file is opened each time, so that whoever keeps old ones renames it and is done;
/// it is written at once, so that lines of several processes do not mix.
fn append(path: &Path, entry: &AuditEntry) -> io::Result<()> {
    let AuditEntry { at, user, source, action, target, detail, outcome } = entry;
    let at = jiff::Timestamp::from_millisecond(at.millis()).map_err(io::Error::other)?.to_string();
    let (user, target) = (*user, *target);
    let line = Line { at, user, source, action, target, detail, outcome };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    options.open(path)?.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_on_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let entry = |detail: &str| AuditEntry {
            at: std::time::SystemTime::UNIX_EPOCH.into(),
            user: None,
            source: "127.0.0.1".to_owned(),
            action: "create".to_owned(),
            target: None,
            detail: detail.to_owned(),
            outcome: "ok".to_owned(),
        };
        append(&path, &entry("a\n{\"outcome\":\"ok\"}\u{1b}[2J")).unwrap();
        // Whoever rotates logs renames them.
        std::fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
        append(&path, &entry("b")).unwrap();
        append(&path, &entry("c")).unwrap();
        let old = std::fs::read_to_string(folder.path().join("audit.jsonl.1")).unwrap();
        assert_eq!(old.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&old).unwrap();
        assert_eq!(line["at"], "1970-01-01T00:00:00Z");
        assert_eq!(line["detail"], "a\n{\"outcome\":\"ok\"}\u{1b}[2J");
        let new = std::fs::read_to_string(&path).unwrap();
        let details = new.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["detail"].as_str().unwrap().to_owned()
        });
        assert_eq!(details.collect::<Vec<_>>(), ["b", "c"]);
    }
}
