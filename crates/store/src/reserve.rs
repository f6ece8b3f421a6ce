//! Space that is put by, so that boxes can be deleted where the disk is full.
//!
//! To delete a box is how space is made, and it has to be written down before it is done.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// What a log of [`LOG_PAGES`](crate::sqlite::LOG_PAGES) takes, and then some, in bytes.
pub(crate) const SIZE: usize = 1 << 20;

/// The file that takes the space.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(crate) fn of(database: &Path) -> Self {
        Self { path: database.with_extension("reserve") }
    }

    /// Puts space by, if that is not done yet. `false` where it cannot be put by: there is none, or the
    /// database tells what else is the matter with the folder.
    pub(crate) fn keep(&self) -> bool {
        let kept = self.path.exists() || fill(&self.path).is_ok();
        if !kept {
            // A part of it would look like the whole.
            drop(fs::remove_file(&self.path));
        }
        kept
    }

    /// Gives the space up; `false` when there is none. The next [`keep`](Self::keep) puts it by again.
    pub(crate) fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

/// Written and not only allocated: of a filesystem that copies on write, nothing else takes space.
fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(&vec![0x5a; SIZE])
}
