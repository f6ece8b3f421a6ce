//! `cargo xtask test`: every test, and a list of those that were skipped and why.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::lab::{self, Kind, Lab};
use crate::packages;

/// Tests append a line here when they skip themselves; nextest hides what passing tests print.
const SKIP_LOG: &str = "BOXHERD_SKIP_LOG";

pub(crate) fn run(extra: Vec<String>) -> anyhow::Result<ExitCode> {
    packages::provide()?;
    let log = std::env::temp_dir().join(format!("boxherd-skipped-{}", std::process::id()));
    // Some tests run as another user.
    fs::write(&log, "")
        .and_then(|()| fs::set_permissions(&log, fs::Permissions::from_mode(0o666)))
        .context("cannot make the list of skipped tests")?;
    let labs = Labs::up()?;
    let passed = every_test(&log, &extra, &labs);
    let down = labs.down();
    print_skipped(&log)?;
    let passed = passed?;
    down.context("cannot take the LXD labs down")?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The LXD and Incus labs, where they can be had; elsewhere their tests skip themselves. With each,
/// whether it was brought up here, and is taken down again.
struct Labs {
    single: Vec<(Lab, bool)>,
    cluster: Option<(PathBuf, bool)>,
}

impl Labs {
    fn up() -> anyhow::Result<Self> {
        let said = |error: anyhow::Error| println!("SKIPPED: LXD or Incus: {error:#}");
        let mut single = Vec::new();
        for kind in [Kind::Lxd, Kind::Incus] {
            let lab = lab::default_lab(kind)?;
            if let Ok(ours) = lab.ensure_up().map_err(said) {
                single.push((lab, ours));
            }
        }
        let folder = lab::default_folder("lxd-cluster")?;
        let cluster = lab::cluster::ensure_up(&folder).map_err(said);
        Ok(Self { single, cluster: cluster.ok().map(|ours| (folder, ours)) })
    }

    /// Takes down all that were brought up here, also when one of them does not go.
    fn down(&self) -> anyhow::Result<()> {
        let cluster = match &self.cluster {
            Some((folder, true)) => lab::cluster::down(folder),
            _ => Ok(()),
        };
        let ours = self.single.iter().filter(|(_, ours)| *ours);
        ours.map(|(lab, _)| lab.down()).fold(cluster, Result::and)
    }
}

fn every_test(skip_log: &Path, extra: &[String], labs: &Labs) -> anyhow::Result<bool> {
    let has_nextest = Command::new("cargo")
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut cargo = Command::new("cargo");
    if has_nextest {
        cargo.args(["nextest", "run"]);
    } else {
        println!("cargo-nextest is not installed: using `cargo test`");
        cargo.arg("test");
    }
    for (lab, _) in &labs.single {
        cargo.env(lab.variable(), lab.folder());
    }
    if let Some((folder, _)) = &labs.cluster {
        cargo.env(lab::LXD_CLUSTER, folder);
    }
    let status = cargo
        .args(["--workspace", "--locked", "--features", "boxherd-cli/otel"])
        .args(extra)
        .env(SKIP_LOG, skip_log)
        .status()
        .context("cannot run cargo")?;
    Ok(status.success())
}

fn print_skipped(log: &Path) -> anyhow::Result<()> {
    let lines = fs::read_to_string(log).context("cannot read the list of skipped tests")?;
    fs::remove_file(log).context("cannot remove the list of skipped tests")?;
    for line in lines.lines() {
        println!("SKIPPED: {line}");
    }
    Ok(())
}
