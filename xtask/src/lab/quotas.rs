//! Quotas of a btrfs pool that hold whatever is deleted.
//!
//! Linux (seen with 6.18) stops counting when a large subvolume is deleted, as that of an image of Debian,
//! and then lets everybody write as much as they like until somebody has it count anew.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// `BTRFS_MAX_LEVEL`: no subvolume is as high.
const NEVER: &str = "8";

/// Has the file system at `pool` keep counting.
pub(crate) fn keep(pool: &Path) -> anyhow::Result<()> {
    run(Command::new("btrfs").args(["quota", "enable"]).arg(pool))?;
    let uuid = run(Command::new("findmnt").args(["-n", "-o", "UUID"]).arg(pool))?;
    let threshold =
        Path::new("/sys/fs/btrfs").join(uuid.trim()).join("qgroups/drop_subtree_threshold");
    // Kernels that do not have it keep counting.
    if threshold.exists() {
        fs::write(&threshold, NEVER)
            .with_context(|| format!("cannot write `{}`", threshold.display()))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
