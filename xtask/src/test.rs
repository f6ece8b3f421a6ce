//! `cargo xtask test`: every test, and a list of those that were skipped and why.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::lab::{self, Lab};
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
    let lab = lab_up()?;
    let passed = every_test(&log, &extra, lab.as_ref());
    let down = lab.as_ref().map_or(Ok(()), Lab::down);
    print_skipped(&log)?;
    let passed = passed?;
    down.context("cannot take the LXD lab down")?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The LXD lab, where it can be had; elsewhere its tests skip themselves.
fn lab_up() -> anyhow::Result<Option<Lab>> {
    let lab = Lab::new(lab::default_folder("lxd")?, lab::PORT)?;
    match lab.up() {
        Ok(()) => Ok(Some(lab)),
        Err(error) => {
            println!("SKIPPED: LXD: {error:#}");
            Ok(None)
        }
    }
}

fn every_test(skip_log: &Path, extra: &[String], lab: Option<&Lab>) -> anyhow::Result<bool> {
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
    if let Some(lab) = lab {
        cargo.env(lab::LXD, lab.folder());
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
