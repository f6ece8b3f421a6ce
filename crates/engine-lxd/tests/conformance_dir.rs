//! What the suite of every engine says of copies and snapshots, on a pool without any help for them: a
//! folder of a real LXD.

mod common;

use std::process::ExitCode;
use std::sync::Arc;

use boxherd_engine::conformance::main_of as run;

use crate::common::{Server, all, is_asked_for};

/// What a pool can do in another way.
const POOLS: [&str; 1] = ["snapshots::"];

fn main() -> ExitCode {
    let Some(lab) = boxherd_testkit::lxd_lab_or_skip("conformance of engine-lxd on a folder")
    else {
        return ExitCode::SUCCESS;
    };
    let wanted = |case: &str| {
        all() || is_asked_for("small") || POOLS.iter().any(|theme| case.starts_with(theme))
    };
    // A copy is one of every file: the small one has few, and not every program that some cases need.
    let image = if all() { "deb12" } else { "tiny" };
    let server =
        Server { pool: Some("default"), driver: Some("dir"), image, ..Server::new(lab.socket) };
    run(wanted, move || Ok(Arc::new(server)))
}
