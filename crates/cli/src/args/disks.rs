//! What can be typed about disks.

use boxherd_model::{Address, ByteSize, MountPath};
use clap::{Args, Subcommand};

use super::{NewName, examples};

/// Make disks, and attach them to boxes while they run
///
/// A disk is a filesystem of its own that holds so much and no more. One box has it at a time, and
/// keeps it when it is stopped; what was written stays on it when it is detached or the box is
/// deleted. Copies of the box do not have it.
#[derive(Debug, Subcommand)]
#[command(after_help = examples::DISK)]
pub(crate) enum DiskCommand {
    /// Make an empty disk
    Create(DiskCreateArgs),
    /// List disks and the boxes that have them
    Ls,
    /// Mount a disk in a box, now if it runs and at every start
    Attach(DiskAttachArgs),
    /// Unmount a disk from a box
    ///
    /// Refused while a process of the box has a file or its working folder on it.
    Detach(DiskDetachArgs),
    /// Remove a disk that no box has, with all that is on it
    Rm(DiskRmArgs),
}

/// `boxherd disk create`.
#[derive(Debug, Args)]
pub(crate) struct DiskCreateArgs {
    /// What to call it, after an engine if it is for boxes of another than this machine
    #[arg(value_name = "[ENGINE:]NAME")]
    pub(crate) name: NewName,
    /// How much it holds, such as `10GiB`; 16MiB at least
    pub(crate) size: ByteSize,
}

/// `boxherd disk attach`.
#[derive(Debug, Args)]
pub(crate) struct DiskAttachArgs {
    /// The disk, by name or id
    pub(crate) disk: String,
    /// The box: `NAME` or `ENGINE:NAME`
    #[arg(value_name = "BOX")]
    pub(crate) to: Address,
    /// Where in the box; folders that are not there are made
    pub(crate) path: MountPath,
    /// Let nothing be written
    #[arg(long)]
    pub(crate) read_only: bool,
}

/// `boxherd disk detach`.
#[derive(Debug, Args)]
pub(crate) struct DiskDetachArgs {
    /// The disk, by name or id
    pub(crate) disk: String,
    /// The box: `NAME` or `ENGINE:NAME`
    #[arg(value_name = "BOX")]
    pub(crate) from: Address,
}

/// `boxherd disk rm`.
#[derive(Debug, Args)]
pub(crate) struct DiskRmArgs {
    /// The disk, by name or id
    pub(crate) disk: String,
}
