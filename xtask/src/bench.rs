//! `cargo xtask bench`: comparisons that need programs of others, in Pythons of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::lab::{self, Kind};

/// Of which our connectors speak the interface.
const PYINFRA: &str = "pyinfra==3.10.0";
/// Who does the same.
const PEER: &str = "pyinfra-lxd-api-connector==0.2.0";

const USAGE: &str = "\
usage: cargo xtask bench python                 a Python for `boxherd bench lxd --python`: prints its path
       cargo xtask bench pyinfra [-- ARGS]      a deploy by our connector and by another's; the LXD lab must
                                                be up, and `cargo build --release` done (see tests/bench)";

pub(crate) fn run(args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let args: Vec<_> = args.collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["python"] => {
            println!("{}", python(&peer()?).display());
            Ok(())
        }
        ["pyinfra"] => pyinfra(&[]),
        ["pyinfra", "--", ..] => pyinfra(&args[2..]),
        _ => bail!("{USAGE}"),
    }
}

fn pyinfra(args: &[String]) -> anyhow::Result<()> {
    let boxherd = tree()?.join("target/release/boxherd");
    ensure!(boxherd.exists(), "`{}` is not there: build it", boxherd.display());
    let lab = match std::env::var_os("BOXHERD_LAB_LXD") {
        Some(folder) => PathBuf::from(folder),
        None => lab::default_lab(Kind::Lxd)?.folder().to_owned(),
    };
    ensure!(lab.join("lab.env").exists(), "there is no lab: `cargo xtask lab lxd up`");
    let (ours, peer) = (ours()?, peer()?);
    let status = Command::new(python(&peer))
        .arg(tree()?.join("tests/bench/pyinfra/run.py"))
        .arg("--boxherd")
        .arg(boxherd)
        .arg("--ours")
        .arg(&ours)
        .arg("--peer")
        .arg(&peer)
        .arg("--lab")
        .arg(lab)
        .args(args)
        .status()
        .context("cannot run Python")?;
    ensure!(status.success(), "the comparison failed");
    Ok(())
}

/// pyinfra with our connectors as they are now.
fn ours() -> anyhow::Result<PathBuf> {
    let place = environment("ours", &[PYINFRA])?;
    let package = tree()?.join("python/pyinfra-boxherd");
    pip(&place, &["--force-reinstall", "--no-deps"], &[&package.to_string_lossy()])?;
    Ok(place)
}

/// pyinfra with the connector of others: two packages cannot offer one name.
fn peer() -> anyhow::Result<PathBuf> {
    environment("peer", &[PYINFRA, PEER])
}

/// A virtual environment with `packages`, below `target`; made once.
fn environment(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let place = tree()?.join("target/bench").join(name);
    let done = place.join("complete");
    if !done.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&place).status();
        let made = made.context("cannot run `python3`")?;
        ensure!(made.success(), "`python3 -m venv` failed (Debian package `python3-venv`)");
        pip(&place, &[], packages)?;
        std::fs::write(done, "")?;
    }
    Ok(place)
}

fn pip(place: &Path, flags: &[&str], packages: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(python(place))
        .args(["-m", "pip", "install", "-q", "--disable-pip-version-check"])
        .args(flags)
        .args(packages)
        .status()
        .context("cannot run pip")?;
    ensure!(status.success(), "{} cannot be had", packages.join(", "));
    Ok(())
}

fn python(place: &Path) -> PathBuf {
    place.join("bin/python")
}

fn tree() -> anyhow::Result<PathBuf> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(xtask.parent().context("xtask is in a workspace")?.to_owned())
}
