//! What `doctor` looks at.

use boxherd_engine::{Check, Verdict};

use crate::cgroup::{Controller, Place};
use crate::core::Core;

pub(crate) fn all(core: &Core) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(Controller::ALL.map(|controller| cgroup(core, controller)));
    checks.push(network(core));
    checks.push(disk(core));
    checks.push(open_files());
    checks
}

/// More open files than any memory holds: then the memory of boxes is what bounds them.
const BOUNDLESS: u64 = 1 << 40;

/// How many files the machine may have open. Neither a user namespace nor a control group counts
/// them, so that one box could have them all.
fn open_files() -> Check {
    const PATH: &str = "/proc/sys/fs/file-max";
    let name = "open files".to_owned();
    let read = std::fs::read_to_string(PATH);
    match read.as_deref().map(|text| text.trim().parse::<u64>()) {
        Ok(Ok(limit)) if limit >= BOUNDLESS => {
            let found = "bounded by the memory of each box".to_owned();
            Check { name, verdict: Verdict::Works, found, fix: None }
        }
        Ok(Ok(limit)) => Check {
            name,
            verdict: Verdict::Missing,
            found: format!("{limit} for all boxes together, which one of them could use up"),
            fix: Some("`sysctl -w fs.file-max=9223372036854775807`".to_owned()),
        },
        Ok(Err(_)) | Err(_) => Check {
            name,
            verdict: Verdict::Broken,
            found: format!("`{PATH}` cannot be read"),
            fix: Some("mount `proc` on `/proc`".to_owned()),
        },
    }
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
