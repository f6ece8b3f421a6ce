//! The suite of every engine, on real boxes. Needs root.

mod common;

use std::process::ExitCode;

use boxherd_model::Isolation;

fn main() -> ExitCode {
    if !boxherd_testkit::root_or_skip("conformance of engine-local") {
        return ExitCode::SUCCESS;
    }
    common::run(Isolation::default())
}
