//! The suite of every engine, on boxes with a kernel of their own. Needs root and `runsc`.

mod common;

use std::process::ExitCode;

use boxherd_model::Isolation;

fn main() -> ExitCode {
    let test = "conformance of engine-local with gVisor";
    if !boxherd_testkit::root_or_skip(test) || !boxherd_testkit::programs_or_skip(test, &["runsc"])
    {
        return ExitCode::SUCCESS;
    }
    common::run(Isolation::Gvisor)
}
