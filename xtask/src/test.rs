//! `cargo xtask test`: every test, and a list of those that were skipped and why.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

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
    let passed = every_test(&log, &extra)?;
    print_skipped(&log)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn every_test(skip_log: &Path, extra: &[String]) -> anyhow::Result<bool> {
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
