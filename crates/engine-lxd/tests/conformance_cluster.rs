//! What the suite of every engine says of lives and links, on a cluster: boxes are on any of its members,
//! and the one that is asked passes on what is meant for another.

mod common;

use std::process::ExitCode;
use std::sync::Arc;

use boxherd_engine::conformance::main_of as run;

use crate::common::{Server, all, is_asked_for};

/// What can go wrong between members.
const MEMBERS: [&str; 2] = ["lifecycle::", "fork::"];

fn main() -> ExitCode {
    let test = "conformance of engine-lxd on a cluster";
    let Some(cluster) = boxherd_testkit::lxd_cluster_or_skip(test) else {
        return ExitCode::SUCCESS;
    };
    // Twenty copies of Debian at once take minutes where they share no blocks: the small one does.
    let crowd = is_asked_for("crowd");
    let wanted = |case: &str| match case.starts_with("crowd::") {
        true => crowd,
        false => all() || MEMBERS.iter().any(|theme| case.starts_with(theme)),
    };
    let socket = cluster.lab.socket.clone();
    // The small one has all that these need, and copies of disks are whole there.
    let (pool, driver, image) = (None, None, if all() { "deb12" } else { "tiny" });
    let server = Server { pool, driver, image, _kept: Some(cluster), ..Server::new(socket) };
    run(wanted, move || Ok(Arc::new(server)))
}
