//! `cargo xtask lab`: real servers for tests, each under one folder, gone without a trace on `down`.
//!
//! Start reading in `lxd.rs`.

pub(crate) mod cluster;
mod guests;
mod image;
mod lxd;
mod sweep;

use std::path::PathBuf;

use anyhow::{Context as _, bail};

pub(crate) use lxd::{Lab, PORT};

/// The variable by which tests learn where the folder of the LXD lab is.
pub(crate) const LXD: &str = "BOXHERD_LAB_LXD";

/// The variable by which tests learn where the folder of the lab with a cluster is.
pub(crate) const LXD_CLUSTER: &str = "BOXHERD_LAB_LXD_CLUSTER";

const USAGE: &str = "\
usage: cargo xtask lab lxd <up|down|status> [--folder DIR] [--port PORT]
       cargo xtask lab lxd cluster <up|down> [--folder DIR]";

/// What the command line asks for.
struct Asked {
    words: Vec<String>,
    folder: Option<PathBuf>,
    port: u16,
}

fn parse(args: impl Iterator<Item = String>) -> anyhow::Result<Asked> {
    let mut asked = Asked { words: Vec::new(), folder: None, port: PORT };
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--folder" => asked.folder = Some(args.next().context(USAGE)?.into()),
            "--port" => asked.port = args.next().context(USAGE)?.parse().context("no port")?,
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

pub(crate) fn run(args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let asked = parse(args)?;
    let words: Vec<_> = asked.words.iter().map(String::as_str).collect();
    let folder = |name| asked.folder.clone().map_or_else(|| default_folder(name), Ok);
    match words[..] {
        ["lxd", "up"] => Lab::new(folder("lxd")?, asked.port)?.up(),
        ["lxd", "down"] => Lab::new(folder("lxd")?, asked.port)?.down(),
        ["lxd", "status"] => Lab::new(folder("lxd")?, asked.port)?.status(),
        ["lxd", "cluster", "up"] => cluster::up(&folder("lxd-cluster")?),
        ["lxd", "cluster", "down"] => cluster::down(&folder("lxd-cluster")?),
        _ => bail!("{USAGE}"),
    }
}
