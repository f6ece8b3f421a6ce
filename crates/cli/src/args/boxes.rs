//! Commands about boxes as wholes.

use std::path::PathBuf;
use std::time::Duration;

use boxherd_model::{Address, BoxName, SnapshotName};
use clap::{Args, Subcommand};

use super::values::{self, CopyEnd, Forward, LabelChange};
use super::{BoxFlags, EnvVar, NewName};

/// Make a box and start it
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name, a DNS label, after an engine if it is to be on another than this machine; with `-f`
    /// the file may have it
    #[arg(required_unless_present = "file", value_name = "[ENGINE:]NAME")]
    pub(crate) name: Option<NewName>,
    /// Read the spec from a YAML file, or from standard input with `-`; flags win over it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: BoxFlags,
    /// Set a variable in the box; without a value, take ours
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<EnvVar>,
    /// What the box runs besides its agent, under `--restart`; nothing when not given, whatever the
    /// image says
    #[arg(last = true, value_name = "CMD")]
    pub(crate) cmd: Vec<String>,
}

/// List boxes
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only boxes with this label; may be given several times
    #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
    pub(crate) labels: Vec<LabelSelector>,
}

/// Show what boxes use: processors, memory, disk, processes
///
/// On a terminal, again and again until Ctrl-C; else once, after one interval.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Show it once
    #[arg(long)]
    pub(crate) once: bool,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = values::duration)]
    pub(crate) interval: Duration,
}

pub(crate) use values::LabelSelector;

/// Show everything about a box
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The box: `NAME` or `ENGINE:NAME`
    pub(crate) name: Address,
}

/// Boxes by name.
#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// The boxes: `NAME` or `ENGINE:NAME`
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<Address>,
}

/// Boxes whose processes are to end.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) boxes: NamesArgs,
    /// How long processes may take to end before they are killed
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub(crate) grace: Duration,
}

/// Delete boxes with their disks and snapshots
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    pub(crate) boxes: NamesArgs,
    /// Also boxes that run
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Copy a box: its disk, and a new identity
#[derive(Debug, Args)]
pub(crate) struct ForkArgs {
    /// The box to copy
    pub(crate) name: Address,
    /// The name of the copy, or of the first of several; made up when not given
    pub(crate) new: Option<BoxName>,
    /// How many copies; they are called `NEW-1`, `NEW-2`, …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) count: u16,
    /// Copy memory and processes too, of a box with `--isolation gvisor`
    #[arg(long)]
    pub(crate) live: bool,
}

/// Keep disks of boxes, and put them back
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Keep the disk of a box under a name
    Create(SnapshotArgs),
    /// List the snapshots of a box
    Ls(NameArgs),
    /// Put the disk of a stopped box back to a snapshot
    Restore(SnapshotArgs),
    /// Remove a snapshot
    Rm(SnapshotArgs),
}

/// A snapshot of a box.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// The box
    pub(crate) name: Address,
    /// The snapshot
    pub(crate) snapshot: SnapshotName,
}

/// Give a box another name
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// The box
    pub(crate) name: Address,
    /// Its new name
    pub(crate) new: BoxName,
}

/// Set labels of a box, and remove them with `KEY-`
#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    /// The box
    pub(crate) name: Address,
    /// `KEY=VALUE` sets, `KEY-` removes
    #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
    pub(crate) changes: Vec<LabelChange>,
}

/// Copy files and trees into a box, or out of one
///
/// A directory is copied into a DST that is a directory, or becomes DST; `SRC/.` means its content.
/// `-` stands for a tar archive on standard input, unpacked into the directory DST, or on standard
/// output, where the names in it begin with that of the directory SRC, but for `SRC/.`. Permissions
/// are kept; files get the owner they are copied as: root in a box, you here. The box must run, or be
/// suspended: its links are followed by its own agent and never by the host.
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// `NAME:/PATH`, a path here, or `-`
    #[arg(value_name = "SRC")]
    pub(crate) source: CopyEnd,
    /// `NAME:/PATH`, a path here, or `-`
    #[arg(value_name = "DST")]
    pub(crate) destination: CopyEnd,
}

/// Print what a box wrote to its console
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The box
    pub(crate) name: Address,
    /// Go on with what it writes until it stops
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin with the last N lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<usize>,
}

/// Reach TCP ports of a box on this machine's loopback
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    /// The box
    pub(crate) name: Address,
    /// The port here and the port in the box; 0 chooses one here
    #[arg(required = true, value_name = "[LOCAL:]REMOTE")]
    pub(crate) forwards: Vec<Forward>,
}
