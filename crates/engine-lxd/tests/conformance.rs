//! The suite of every engine, on instances of a real LXD: see `cargo xtask lab lxd`.

mod common;

use std::process::ExitCode;
use std::sync::Arc;

use boxherd_engine::conformance::main_of as run;

use crate::common::{Server, all};

/// What an engine can do wrong. The rest is the agent's, which passes it elsewhere, and is run here when
/// `BOXHERD_LXD_SUITE` is `all`: an instance takes seconds.
const ENGINES: [&str; 10] = [
    "lifecycle::",
    "fork::",
    "snapshots::",
    "disks::",
    "suspend::",
    "reopen::",
    "limits::",
    "reattach::",
    "streams::",
    "ports::",
];

fn main() -> ExitCode {
    let Some(lab) = boxherd_testkit::lxd_lab_or_skip("conformance of engine-lxd") else {
        return ExitCode::SUCCESS;
    };
    let wanted = |case: &str| all() || ENGINES.iter().any(|theme| case.starts_with(theme));
    run(wanted, move || Ok(Arc::new(Server::new(lab.socket))))
}
