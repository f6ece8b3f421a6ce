//! What `doctor` looks at.

use boxherd_engine::{Check, Verdict};

use crate::cgroup::{Controller, Place};
use crate::core::Core;

pub(crate) fn all(core: &Core) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(Controller::ALL.map(|controller| cgroup(core, controller)));
    checks.push(network(core));
    checks.push(disk(core));
    checks
}

fn cgroup(core: &Core, controller: Controller) -> Check {
    let place = core.hierarchies.as_ref().and_then(|hierarchies| hierarchies.place(controller));
    let (verdict, found, fix) = match place {
        Some(Place::V1(path)) => (Verdict::Works, format!("v1, at `{}`", path.display()), None),
        Some(Place::V2(path)) => (Verdict::Works, format!("v2, at `{}`", path.display()), None),
        None => {
            let fix = "mount the hierarchy, or run as root".to_owned();
            (Verdict::Missing, "in no hierarchy this process may write to".to_owned(), Some(fix))
        }
    };
    Check { name: format!("cgroup {}", controller.as_str()), verdict, found, fix }
}

fn network(core: &Core) -> Check {
    let name = "networks".to_owned();
    match core.networks.available() {
        Ok(()) => Check {
            name,
            verdict: Verdict::Works,
            found: "nftables and veth are there".to_owned(),
            fix: None,
        },
        Err(error) => Check {
            name,
            verdict: Verdict::Missing,
            found: format!("{error}; boxes have loopback only"),
            fix: error.hint().map(str::to_owned),
        },
    }
}

fn disk(core: &Core) -> Check {
    let name = "disk limits".to_owned();
    match core.pool.can_limit() {
        Ok(()) => Check {
            name,
            verdict: Verdict::Works,
            found: format!("{:?}, with quota groups", core.pool.kind()),
            fix: None,
        },
        Err(reason) => Check {
            name,
            verdict: Verdict::Missing,
            found: reason,
            fix: Some("`boxherd doctor --fix` makes a btrfs pool in a file".to_owned()),
        },
    }
}
