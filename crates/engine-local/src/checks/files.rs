//! How many files the machine may have open. Neither a user namespace nor a control group counts
//! them, so that one box could have them all.

use std::fs;

use boxherd_engine::Check;

use super::{broken, missing, works};

const NAME: &str = "open files";
const PATH: &str = "/proc/sys/fs/file-max";
/// More open files than any memory holds: then the memory of boxes is what bounds them.
const BOUNDLESS: u64 = 1 << 40;

pub(super) fn check() -> Check {
    let read = fs::read_to_string(PATH);
    match read.as_deref().map(|text| text.trim().parse::<u64>()) {
        Ok(Ok(limit)) if limit >= BOUNDLESS => works(NAME, "bounded by the memory of each box"),
        Ok(Ok(limit)) => {
            let found = format!("{limit} for all boxes together, which one of them could use up");
            missing(NAME, found, "`sysctl -w fs.file-max=9223372036854775807`")
        }
        _ => broken(NAME, format!("`{PATH}` cannot be read"), "mount `proc` on `/proc`"),
    }
}
