//! `kill -9` at every step of every operation: the next command leaves nothing half done.
//!
//! `boxherd_engine::fault` is in every build with debug assertions, which tests have.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use crate::gvisor;
use crate::lab::Lab;

/// An operation: what it needs, the command, and how its steps begin.
struct Case {
    before: &'static [&'static [&'static str]],
    command: &'static [&'static str],
    steps: &'static str,
    /// How the steps of the engine on the way begin.
    engine: &'static [&'static str],
}

/// Dies at every step of the herd's and the engine's, in a lab of its own for each.
fn dies(test: &str, case: &Case) {
    dies_with(test, case, Lab::open, &[]);
}

/// The same with a box of another kind.
fn dies_with(test: &str, case: &Case, open: fn(&str) -> Option<Lab>, flags: &[&str]) {
    let steps = boxherd_herd::STEPS.iter().filter(|step| step.starts_with(case.steps));
    assert!(steps.clone().count() > 0, "no step begins with {}", case.steps);
    let on_the_way = |step: &&&str| case.engine.iter().any(|beginning| step.starts_with(beginning));
    for step in steps.chain(boxherd_engine_local::STEPS.iter().filter(on_the_way)) {
        let Some(lab) = open(test) else { return };
        lab.create("one", flags);
        case.before.iter().for_each(|args| drop(lab.boxherd(args).ok()));
        let killed = lab.command(case.command).env("BOXHERD_KILL_AT", step).output();
        let killed = killed.expect("boxherd runs");
        assert_eq!(killed.status.signal(), Some(9), "{step} is not reached: {killed:?}");
        agrees(&lab, step);
    }
}

/// What is listed is what there is.
fn agrees(lab: &Lab, step: &str) {
    let listed = lab.boxherd(&["ls", "-o", "json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let listed = listed.as_array().expect("a list");
    let id = |status: &serde_json::Value| status["id"].as_str().expect("an id").to_owned();
    let all: BTreeSet<String> = listed.iter().map(id).collect();
    let alive = |status: &&serde_json::Value| {
        matches!(status["state"].as_str(), Some("running" | "suspended"))
    };
    let alive: BTreeSet<String> = listed.iter().filter(alive).map(id).collect();
    assert_eq!(entries(&lab.data().join("boxes")), all, "boxes after {step}");
    assert_eq!(entries(&lab.data().join("layers")), all, "layers after {step}");
    assert_eq!(entries(&lab.data().join("making")), BTreeSet::new(), "half made after {step}");
    for group in groups(lab) {
        let known = folders(&group);
        assert!(known.is_subset(&all), "{}: {known:?} after {step}", group.display());
        // One that has stopped keeps its group, which knows whether it was out of memory.
        for stopped in known.difference(&alive) {
            assert!(processes(&group.join(stopped)).is_empty(), "{stopped} after {step}");
        }
    }
    for status in listed.iter().filter(|status| status["state"] == "running") {
        let name = status["spec"]["name"].as_str().expect("a name");
        assert_eq!(lab.sh(name, "echo works").ok(), "works\n", "{name} after {step}");
    }
}

/// The control groups of the data folder, one per hierarchy.
fn groups(lab: &Lab) -> Vec<PathBuf> {
    let installation = fs::read_to_string(lab.data().join("installation"));
    let Ok(installation) = installation else { return Vec::new() };
    let top = PathBuf::from("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(&top).expect("cgroups").flatten();
    let mut folders: Vec<_> = hierarchies.map(|entry| entry.path()).collect();
    folders.push(top);
    let group = format!("boxherd-{}", installation.trim());
    folders.iter().map(|folder| folder.join(&group)).filter(|group| group.is_dir()).collect()
}

fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The processes of a control group and those in it.
fn processes(group: &Path) -> Vec<String> {
    let own = fs::read_to_string(group.join("cgroup.procs")).expect("a control group");
    let within = folders(group).into_iter().flat_map(|inner| processes(&group.join(inner)));
    own.lines().map(str::to_owned).chain(within).collect()
}

/// The folders in a folder.
fn folders(folder: &Path) -> BTreeSet<String> {
    entries(folder).into_iter().filter(|name| folder.join(name).is_dir()).collect()
}

#[test]
fn while_a_box_is_made() {
    let case = Case {
        before: &[],
        command: &["create", "two", "--network", "none"],
        steps: "create.",
        engine: &["create.", "start."],
    };
    dies("while_a_box_is_made", &case);
}

#[test]
fn while_a_box_is_forked() {
    let case =
        Case { before: &[], command: &["fork", "one", "two"], steps: "fork.", engine: &["fork."] };
    dies("while_a_box_is_forked", &case);
}

#[test]
fn while_a_box_is_suspended() {
    let case =
        Case { before: &[], command: &["suspend", "one"], steps: "change.", engine: &["suspend."] };
    dies("while_a_box_is_suspended", &case);
}

#[test]
fn while_a_box_is_hibernated() {
    let case = Case {
        before: &[],
        command: &["hibernate", "one"],
        steps: "change.",
        engine: &["hibernate."],
    };
    dies_with("while_a_box_is_hibernated", &case, gvisor::open, gvisor::FLAGS);
}

#[test]
fn while_a_box_is_forked_live() {
    let case = Case {
        before: &[],
        command: &["fork", "one", "two", "--live"],
        steps: "fork.",
        engine: &["live-fork."],
    };
    dies_with("while_a_box_is_forked_live", &case, gvisor::open, gvisor::FLAGS);
}

#[test]
fn while_a_box_is_renamed() {
    let case = Case {
        before: &[],
        command: &["rename", "one", "two"],
        steps: "rename.",
        engine: &["rename."],
    };
    dies("while_a_box_is_renamed", &case);
}

#[test]
fn while_a_box_is_deleted() {
    let case = Case {
        before: &[],
        command: &["rm", "--force", "one"],
        steps: "delete.",
        engine: &["delete."],
    };
    dies("while_a_box_is_deleted", &case);
}

#[test]
fn while_a_snapshot_is_taken() {
    let case = Case {
        before: &[],
        command: &["snapshot", "create", "one", "s"],
        steps: "snapshot.",
        engine: &[],
    };
    dies("while_a_snapshot_is_taken", &case);
}

#[test]
fn while_a_snapshot_is_restored() {
    let case = Case {
        before: &[&["snapshot", "create", "one", "s"], &["stop", "one"]],
        command: &["snapshot", "restore", "one", "s"],
        steps: "restore.",
        engine: &["restore."],
    };
    dies("while_a_snapshot_is_restored", &case);
}

#[test]
fn while_a_snapshot_is_removed() {
    let case = Case {
        before: &[&["snapshot", "create", "one", "s"]],
        command: &["snapshot", "rm", "one", "s"],
        steps: "unsnapshot.",
        engine: &[],
    };
    dies("while_a_snapshot_is_removed", &case);
}

#[test]
fn while_a_box_is_stopped() {
    let case =
        Case { before: &[], command: &["stop", "one"], steps: "change.", engine: &["stop."] };
    dies("while_a_box_is_stopped", &case);
}

#[test]
fn a_network_whose_maker_was_killed_goes_with_its_box() {
    let Some(lab) = Lab::open("a_network_whose_maker_was_killed") else { return };
    let mut command = lab.command(&["create", "web"]);
    // The network is up, and nobody was started who would take it down.
    let killed = command.env("BOXHERD_KILL_AT", "start.lease").output().expect("boxherd runs");
    assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
    // That it goes is seen when the lab is left.
}

/// The helper dies, not who asked it.
#[test]
fn while_the_helper_starts_a_box() {
    let steps = boxherd_engine_local::STEPS.iter().filter(|step| step.starts_with("helper."));
    for step in steps {
        let Some(lab) = Lab::open("while_the_helper_starts_a_box") else { return };
        lab.create("one", &[]);
        let failed = lab.command(&["create", "two"]).env("BOXHERD_KILL_AT", step).output();
        let failed = failed.expect("boxherd runs");
        assert_eq!(failed.status.code(), Some(1), "{step}: {failed:?}");
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(said.contains("helper"), "{step}: {said}");
        agrees(&lab, step);
        assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "one\n", "after {step}");
    }
}
