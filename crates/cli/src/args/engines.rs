//! Commands about engines.

use std::path::PathBuf;

use boxherd_model::{EngineName, ImageRef};
use clap::{ArgGroup, Args, Subcommand};

use super::examples;

/// Name servers that make boxes, look at them, and forget them
#[derive(Debug, Subcommand)]
#[command(after_help = examples::ENGINE)]
pub(crate) enum EngineCommand {
    /// Give a server a name; boxes on it are `NAME:BOX`
    Add(Box<EngineAddArgs>),
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
#[command(group = ArgGroup::new("where").required(true).args(["lxd", "incus", "remote"]))]
#[command(group = ArgGroup::new("trust").args(["token_file", "password_file"]))]
pub(crate) struct EngineAddArgs {
    /// What to call it
    #[arg(value_name = "ENGINE")]
    pub(crate) name: EngineName,
    /// An LXD server, `https://HOST[:8443]` or `unix:PATH`; given several times, the members of a
    /// cluster, which stand in for each other
    #[arg(long, value_name = "URL")]
    pub(crate) lxd: Vec<String>,
    /// An Incus server or cluster, in the same way
    #[arg(long, value_name = "URL")]
    pub(crate) incus: Vec<String>,
    /// A remote that `lxc` or `incus` knows already, with all that it knows of it
    #[arg(long, value_name = "REMOTE")]
    pub(crate) remote: Option<String>,
    /// A file with a token by which the server comes to trust us, or `-` for standard input; `lxc
    /// config trust add` makes one on the server
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A file with the server's trust password, or `-`
    #[arg(long, value_name = "FILE", requires = "fingerprint")]
    pub(crate) password_file: Option<PathBuf>,
    /// The SHA-256 of the certificate that the server has, which `lxc info` says there; a token has it
    #[arg(long, value_name = "HEX")]
    pub(crate) fingerprint: Option<String>,
    /// The project of the server that boxes are in; `default` when not given
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// What boxes are made of when nobody says: an alias or a fingerprint of the server
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<ImageRef>,
    /// The storage pool for their disks; that of the profile `default` when not given
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    /// How long an operation of the server may show no progress until it is given up; 30 minutes when not
    /// given. Commands are not meant
    #[arg(long, value_name = "DURATION", value_parser = super::values::duration)]
    pub(crate) patience: Option<std::time::Duration>,
}
