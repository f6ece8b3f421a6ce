//! What `doctor` finds, with and without privileges.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, Said};

/// An id that has nothing on any machine.
const NOBODY: u32 = 65_534;

fn checks(said: &Said) -> Vec<Value> {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check `{name}`: {checks:#?}"))
}

fn every_failure_has_a_fix(checks: &[Value]) {
    for check in checks.iter().filter(|check| check["verdict"] != "works") {
        assert!(check["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{check:#?}");
    }
}

fn holds_no_trials(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        assert!(!entry.file_name().to_string_lossy().contains("doctor"), "{entry:?}");
    }
}

#[test]
fn root_is_told_what_works_and_how_to_get_the_rest() {
    let Some(lab) = Lab::open("root_is_told_what_works") else { return };
    let said = lab.boxherd(&["doctor", "-o", "json"]);
    let checks = checks(&said);
    every_failure_has_a_fix(&checks);
    // The tests of this folder make boxes, so that these work.
    for name in ["user namespaces", "id-mapped mounts", "overlay", "system call filter"] {
        assert_eq!(check(&checks, name)["verdict"], "works");
    }
    for name in ["networks", "subordinate ids", "runsc", "criu", "free disk", "disk limits"] {
        check(&checks, name);
    }
    assert_eq!(said.code, Some(0), "{checks:#?}");
    holds_no_trials(&lab.data());
    let table = lab.boxherd(&["doctor"]).ok();
    assert!(table.starts_with("CHECK") && table.contains("user namespaces"), "{table}");
}

#[test]
fn an_ordinary_user_is_told_too() {
    if !boxherd_testkit::root_or_skip("an_ordinary_user_is_told_too") {
        return;
    }
    let folder = tempfile::tempdir().expect("tempdir");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let program = folder.path().join("boxherd");
    fs::copy(env!("CARGO_BIN_EXE_boxherd"), &program).expect("copy");
    let home = folder.path().join("home");
    fs::create_dir(&home).expect("mkdir");
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("chown");
    let mut command = Command::new(program);
    command.args(["doctor", "-o", "json", "--data"]).arg(home.join("data")).current_dir("/");
    let said: Said = command.uid(NOBODY).gid(NOBODY).output().expect("boxherd runs").into();
    let checks = checks(&said);
    every_failure_has_a_fix(&checks);
    assert!(checks.iter().all(|check| check["name"] != "id-mapped mounts"), "not for users");
    assert_eq!(check(&checks, "networks")["verdict"], "missing");
    check(&checks, "user namespaces");
    check(&checks, "subordinate ids");
    holds_no_trials(&home);
}

#[test]
fn the_setting_that_forbids_namespaces_is_named() {
    let test = "the_setting_that_forbids_namespaces_is_named";
    if !boxherd_testkit::root_or_skip(test)
        || !boxherd_testkit::programs_or_skip(test, &["unshare"])
    {
        return;
    }
    let folder = tempfile::tempdir().expect("tempdir");
    // The setting of a user namespace of its own.
    let line = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", line, env!("CARGO_BIN_EXE_boxherd")]);
    command.args(["doctor", "-o", "json", "--data"]).arg(folder.path().join("data"));
    let said: Said = command.output().expect("unshare runs").into();
    assert_eq!(said.code, Some(1), "{said:?}");
    let checks = checks(&said);
    every_failure_has_a_fix(&checks);
    let userns = check(&checks, "user namespaces");
    assert_eq!(userns["verdict"], "broken");
    assert!(userns["fix"].as_str().expect("a fix").contains("user.max_user_namespaces"));
    assert_eq!(check(&checks, "overlay")["verdict"], "broken", "what was not tried");
}
