//! What the suite of every engine says of lives and copies, on instances of a real Incus: see
//! `cargo xtask lab incus`. The rest is the same code on the same API.

mod common;

use std::process::ExitCode;
use std::sync::Arc;

use boxherd_engine::conformance::main_of as run;

use crate::common::{Server, all};

/// What the two servers might do in other ways.
const ENGINES: [&str; 4] = ["lifecycle::", "fork::", "suspend::", "disks::"];

fn main() -> ExitCode {
    let Some(lab) = boxherd_testkit::incus_lab_or_skip("conformance of engine-lxd on Incus") else {
        return ExitCode::SUCCESS;
    };
    let wanted = |case: &str| all() || ENGINES.iter().any(|theme| case.starts_with(theme));
    run(wanted, move || Ok(Arc::new(Server::new(lab.socket))))
}
