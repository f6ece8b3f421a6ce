//! The suite of every engine, on the boxes of an ordinary user with ids of `/etc/subuid`. Needs root, to become
//! that user.

mod common;

use std::process::ExitCode;

use boxherd_model::Isolation;
use boxherd_testkit::{Ids, again_as_user};

fn main() -> ExitCode {
    let test = "conformance of engine-local for a user with ids of `/etc/subuid`";
    again_as_user(test, Ids::Many).unwrap_or_else(|| common::run(Isolation::default()))
}
