//! `cargo xtask lab`: real servers for tests, each under one folder, gone without a trace on `down`.
//!
//! Start reading in `lxd.rs`.

pub(crate) mod cluster;
mod daemon;
mod guests;
mod image;
mod lxd;
mod quotas;
mod sweep;

use std::path::PathBuf;

use anyhow::{Context as _, bail};

pub(crate) use daemon::Kind;
pub(crate) use lxd::Lab;

/// The variable by which tests learn where the folder of the lab with a cluster is.
pub(crate) const LXD_CLUSTER: &str = "BOXHERD_LAB_LXD_CLUSTER";

const USAGE: &str = "\
usage: cargo xtask lab lxd <up|down|status> [--folder DIR] [--port PORT]
       cargo xtask lab lxd cluster <up|down> [--folder DIR]
       cargo xtask lab incus <up|down|status> [--folder DIR] [--port PORT]";

/// What the command line asks for.
struct Asked {
    words: Vec<String>,
    folder: Option<PathBuf>,
    port: Option<u16>,
}

fn parse(args: impl Iterator<Item = String>) -> anyhow::Result<Asked> {
    let mut asked = Asked { words: Vec::new(), folder: None, port: None };
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--folder" => asked.folder = Some(args.next().context(USAGE)?.into()),
            "--port" => asked.port = Some(args.next().context(USAGE)?.parse().context("no port")?),
            _ => asked.words.push(arg),
        }
    }
    Ok(asked)
}

/// The folder of the lab `name` when none is given: `target/lab/NAME`.
pub(crate) fn default_folder(name: &str) -> anyhow::Result<PathBuf> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let workspace = workspace.parent().context("xtask is in a workspace")?;
    Ok(workspace.join("target/lab").join(name))
}

/// The lab with one LXD, or one Incus, in its default folder.
pub(crate) fn default_lab(kind: Kind) -> anyhow::Result<Lab> {
    lab(kind, None, None)
}

fn lab(kind: Kind, folder: Option<PathBuf>, port: Option<u16>) -> anyhow::Result<Lab> {
    let (name, default_port) = match kind {
        Kind::Lxd => ("lxd", lxd::PORT),
        Kind::Incus => ("incus", lxd::INCUS_PORT),
    };
    let folder = folder.map_or_else(|| default_folder(name), Ok)?;
    Lab::new(kind, folder, port.unwrap_or(default_port))
}

pub(crate) fn run(args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let asked = parse(args)?;
    let words: Vec<_> = asked.words.iter().map(String::as_str).collect();
    let cluster = || asked.folder.clone().map_or_else(|| default_folder("lxd-cluster"), Ok);
    match words[..] {
        ["lxd", "cluster", "up"] => return cluster::up(&cluster()?),
        ["lxd", "cluster", "down"] => return cluster::down(&cluster()?),
        _ => {}
    }
    let (kind, task) = match words[..] {
        ["lxd", task] => (Kind::Lxd, task),
        ["incus", task] => (Kind::Incus, task),
        _ => bail!("{USAGE}"),
    };
    let lab = lab(kind, asked.folder, asked.port)?;
    match task {
        "up" => lab.up(),
        "down" => lab.down(),
        "status" => lab.status(),
        _ => bail!("{USAGE}"),
    }
}
