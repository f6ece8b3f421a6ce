//! What the suite of every engine says of disks, on real boxes whose disks are in a loop-backed pool,
//! made as `boxherd doctor --fix` makes it. Needs root and `mkfs.btrfs`.

mod common;

use std::process::ExitCode;

fn main() -> ExitCode {
    let test = "conformance of engine-local on a pool";
    let able = boxherd_testkit::root_or_skip(test)
        && boxherd_testkit::programs_or_skip(test, &["mkfs.btrfs", "umount"]);
    if !able {
        return ExitCode::SUCCESS;
    }
    common::run_on_a_pool()
}
