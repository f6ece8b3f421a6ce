//! Quotas of a btrfs pool that hold.
//!
//! Those that LXD turns on lose count (Linux 6.18: "qgroup marked inconsistent, to be deleted qgroup has non-zero
//! numbers"), and then everybody may write as much as they like. Simple quotas do not; LXD takes what is on.

use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use boxherd_sys::btrfs;

/// Turns simple quotas on for the file system at `pool`, where the kernel has them (Linux 6.7).
pub(crate) fn keep(pool: &Path) -> anyhow::Result<()> {
    let folder = File::open(pool).with_context(|| format!("no pool at `{}`", pool.display()))?;
    if let Err(error) = btrfs::enable_quota(&folder, true) {
        eprintln!("limits of disks may not hold, since this kernel has no simple quotas: {error}");
    }
    Ok(())
}
