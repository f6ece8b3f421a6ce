//! Commands about engines.

use boxherd_model::{EngineName, ImageRef};
use clap::{ArgGroup, Args, Subcommand};

use super::examples;

/// Name servers that make boxes, look at them, and forget them
#[derive(Debug, Subcommand)]
#[command(after_help = examples::ENGINE)]
pub(crate) enum EngineCommand {
    /// Give a server a name; boxes on it are `NAME:BOX`
    Add(EngineAddArgs),
    /// List the engines
    Ls,
    /// Ask an engine whether it works, and what it can do
    Check(EngineArgs),
    /// Forget a server; its instances stay, and so does what is written down of its boxes
    Rm(EngineArgs),
}

/// One engine.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// The engine
    #[arg(value_name = "ENGINE")]
    pub(crate) name: EngineName,
}

/// `boxherd engine add`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).args(["lxd", "incus"]))]
pub(crate) struct EngineAddArgs {
    /// What to call it
    #[arg(value_name = "ENGINE")]
    pub(crate) name: EngineName,
    /// An LXD server: `unix:PATH`; several endpoints of a cluster stand in for each other
    #[arg(long, value_name = "URL")]
    pub(crate) lxd: Vec<String>,
    /// An Incus server, in the same way
    #[arg(long, value_name = "URL")]
    pub(crate) incus: Vec<String>,
    /// The project of the server that boxes are in; `default` when not given
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// What boxes are made of when nobody says: an alias or a fingerprint of the server
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<ImageRef>,
    /// The storage pool for their disks; that of the profile `default` when not given
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
}
