//! Who has a disk. The one place where that is written is the disk's own folder; what a box's folder
//! has is where to look.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use boxherd_model::{BoxId, DiskId, DiskMount};
use serde::{Deserialize, Serialize};

use crate::record;

/// `claim.json` of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Claim {
    /// A box mounts it.
    Attached {
        /// The box.
        to: BoxId,
        /// How.
        mount: DiskMount,
    },
    /// It is being removed.
    Removed,
}

/// What is in `disks/ID`.
#[derive(Debug, Clone)]
pub(super) struct DiskFolder(PathBuf);

impl DiskFolder {
    /// Of that disk, whether it is there or not.
    pub(super) fn of(disks: &Path, disk: DiskId) -> Self {
        Self(disks.join(disk.to_string()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The filesystem; there once it is whole.
    pub(super) fn image(&self) -> PathBuf {
        self.0.join("disk.img")
    }

    fn file(&self) -> PathBuf {
        self.0.join("claim.json")
    }

    pub(super) fn claim(&self) -> io::Result<Option<Claim>> {
        record::read(&self.file())
    }

    /// Takes the disk unless somebody has it, who is returned then: whoever links first, wins.
    pub(super) fn take(&self, claim: &Claim) -> io::Result<Option<Claim>> {
        let draft = self.0.join(format!("claim.{}", BoxId::new()));
        fs::write(&draft, serde_json::to_vec(claim)?)?;
        let taken = loop {
            match fs::hard_link(&draft, self.file()) {
                Ok(()) => break Ok(None),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => break Err(error),
                Err(_) => match self.claim() {
                    // Given back in between.
                    Ok(None) => {}
                    held => break held,
                },
            }
        };
        fs::remove_file(&draft)?;
        taken
    }

    /// Gives the disk back.
    pub(super) fn release(&self) -> io::Result<()> {
        record::remove(&self.file())
    }
}
