//! What `doctor` looks at. Nothing here needs the engine to open, or root: what a host refuses is
//! tried, and every check that fails says what to do.
//!
//! `kernel.rs` has the helper try what a start does, `groups.rs` makes a control group, `network.rs`
//! makes a network where nobody sees it, `subids.rs` says how many ids boxes have, `programs.rs`
//! asks what is installed, `disk.rs` looks at the data folder, `files.rs` at what all boxes share.

mod disk;
mod files;
mod groups;
mod kernel;
mod network;
mod programs;
mod subids;

pub(crate) use self::programs::find;

use std::path::Path;

use boxherd_engine::{Check, EngineError, Verdict};
use boxherd_model::Capability;

use crate::capabilities::Probed;
use crate::core::Core;
use crate::helper::Helper;

/// What can be said without an engine: of this host, and of `data` as a place for boxes.
pub fn host(data: &Path, helper: &Helper) -> Vec<Check> {
    let (mut checks, ids) = kernel::all(data, helper);
    checks.extend(groups::all());
    checks.extend(network::all());
    checks.push(subids::check(ids));
    checks.push(disk::space(data));
    checks.push(files::check());
    checks.extend(programs::all());
    checks
}

/// The same, and what the engine makes of it.
pub(crate) fn all(core: &Core, probed: &Probed) -> Vec<Check> {
    let mut checks = host(core.data.root(), &core.helper);
    checks.push(disk::limits(core));
    checks.push(disk::attached(core));
    for (capability, name) in
        [(Capability::Gvisor, "gVisor boxes"), (Capability::Hibernate, "hibernate, fork --live")]
    {
        checks.push(match probed.set.has(capability) {
            true => works(name, "boxes can have it"),
            false => missing(name, probed.why_not(capability), "see `runsc` and `criu` above"),
        });
    }
    checks
}

/// The looking itself failed.
pub(crate) fn failed(error: &EngineError) -> Check {
    broken("doctor", chain(error), "run it again with `-vv`")
}

fn works(name: impl Into<String>, found: impl Into<String>) -> Check {
    Check { name: name.into(), verdict: Verdict::Works, found: found.into(), fix: None }
}

fn missing(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Check {
    let (name, found, fix) = (name.into(), found.into(), Some(fix.into()));
    Check { name, verdict: Verdict::Missing, found, fix }
}

fn broken(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { verdict: Verdict::Broken, ..missing(name, found, fix) }
}

/// An error and its sources, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
