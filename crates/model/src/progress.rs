//! How far a long transfer is: pulls, imports, copies.

use std::fmt;

/// Told how far a long transfer is. Called from any thread, often; must not block.
pub trait Progress: Send + Sync {
    /// Something moved on.
    fn event(&self, event: ProgressEvent<'_>);
}

impl fmt::Debug for dyn Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// One step of a long transfer. `item` is a layer's short digest or a file's name.
#[derive(Debug, Clone, Copy)]
pub enum ProgressEvent<'a> {
    /// Work on `item` begins.
    Begin {
        /// What is being worked on.
        item: &'a str,
        /// Its size in bytes, when it is known.
        total: Option<u64>,
    },
    /// `item` stands at `done` bytes.
    At {
        /// What is being worked on.
        item: &'a str,
        /// Bytes done so far.
        done: u64,
    },
    /// `item` is complete.
    End {
        /// What was worked on.
        item: &'a str,
    },
}

/// Reports to nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: ProgressEvent<'_>) {}
}
