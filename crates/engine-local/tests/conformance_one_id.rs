//! The suite of every engine, on the boxes of an ordinary user with one id. Needs root, to become
//! that user.

mod common;

use std::process::ExitCode;

use boxherd_model::Isolation;
use boxherd_testkit::{Ids, again_as_user};

fn main() -> ExitCode {
    let test = "conformance of engine-local for a user with one id";
    again_as_user(test, Ids::One).unwrap_or_else(|| common::run(Isolation::default()))
}
