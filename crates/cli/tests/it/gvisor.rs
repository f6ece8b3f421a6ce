//! Boxes with a kernel of their own, and their saved memory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use boxherd_testkit::{Ids, programs_or_skip};

use crate::lab::Lab;
use crate::reboot::restart_host;

/// `None` when the test cannot run here, which was said aloud.
pub(crate) fn open(test: &str) -> Option<Lab> {
    if !programs_or_skip(test, &["runsc"]) {
        return None;
    }
    Lab::open(test)
}

/// What makes such a box.
pub(crate) const FLAGS: &[&str] = &["--isolation", "gvisor"];

/// A line that begins to count in memory.
const COUNT: &str = "echo 'i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; sleep 0.02; done' \
     > /root/count; setsid sh /root/count < /dev/null > /dev/null 2>&1 & \
     until test -s /dev/shm/count; do sleep 0.01; done";

fn count(lab: &Lab, name: &str) -> u64 {
    let line = "until n=$(cat /dev/shm/count); test -n \"$n\"; do sleep 0.01; done; echo $n";
    lab.sh(name, line).ok().trim().parse().expect("a number")
}

/// Waits until it counts on from `from`.
fn counts_on(lab: &Lab, name: &str, from: u64) {
    let line = format!(
        "until test -s /dev/shm/count && test $(cat /dev/shm/count) -gt {from}; do sleep 0.01; done"
    );
    lab.sh(name, &line).ok();
}

#[test]
fn commands_run_under_another_kernel() {
    let Some(lab) = open("commands_run_under_another_kernel") else { return };
    let run = |line: &str| lab.boxherd(&[&["run"], FLAGS, &["--", "sh", "-c", line]].concat());
    assert!(run("dmesg").ok().contains("gVisor"));
    assert_eq!(run("echo out; echo err >&2; exit 7").code, Some(7));
}

#[test]
fn the_main_program_of_a_box_ends_it() {
    let Some(lab) = open("the_main_program_of_a_box_ends_it") else { return };
    let line = "echo said; exit 3";
    lab.create("one", &[FLAGS, &["--", "sh", "-c", line]].concat());
    crate::wait::until("it ends", || lab.state("one").starts_with("stopped").then_some(()));
    assert!(lab.state("one").contains('3'), "{}", lab.state("one"));
    assert_eq!(lab.boxherd(&["logs", "one"]).ok().replace('\r', ""), "said\n");
}

#[test]
fn a_hibernated_box_wakes_for_whoever_uses_it() {
    let Some(lab) = open("a_hibernated_box_wakes_for_whoever_uses_it") else { return };
    lab.create("one", FLAGS);
    lab.sh("one", COUNT).ok();
    let before = count(&lab, "one");
    lab.boxherd(&["hibernate", "one"]).ok();
    assert_eq!(lab.state("one"), "hibernated null");
    counts_on(&lab, "one", before);
    assert_eq!(lab.state("one"), "running null");
    lab.boxherd(&["hibernate", "one"]).ok();
    lab.boxherd(&["rm", "one"]).ok();
}

#[test]
fn a_hibernated_box_outlives_a_restart_of_the_host() {
    let Some(lab) = open("a_hibernated_box_outlives_a_restart_of_the_host") else { return };
    lab.boxherd(&[&["create", "one"], FLAGS].concat()).ok();
    lab.boxherd(&[&["create", "awake"], FLAGS].concat()).ok();
    lab.sh("one", COUNT).ok();
    let before = count(&lab, "one");
    lab.boxherd(&["hibernate", "one"]).ok();
    restart_host(&lab);
    assert_eq!(lab.state("awake"), "stopped host-reboot");
    assert_eq!(lab.state("one"), "hibernated null");
    lab.boxherd(&["resume", "one"]).ok();
    counts_on(&lab, "one", before);
    lab.boxherd(&["start", "awake"]).ok();
    assert!(lab.sh("awake", "getent hosts one").ok().contains("one"));
}

#[test]
fn a_live_fork_goes_on_as_another_machine() {
    let Some(lab) = open("a_live_fork_goes_on_as_another_machine") else { return };
    lab.boxherd(&[&["create", "one"], FLAGS].concat()).ok();
    lab.sh("one", COUNT).ok();
    let before = count(&lab, "one");
    lab.boxherd(&["fork", "one", "--count", "2", "two", "--live"]).ok();
    let names = ["one", "two-1", "two-2"];
    let mut addresses = Vec::new();
    for name in names {
        counts_on(&lab, name, before);
        let who = "hostname; cat /etc/hostname; tail -n1 /etc/hosts | cut -f2";
        assert_eq!(lab.sh(name, who).ok(), format!("{name}\n{name}\n{name}\n"));
        addresses.push(lab.sh(name, "ip -4 -o addr show eth0; cat /etc/machine-id").ok());
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    // They hear each other at their own addresses.
    assert!(lab.sh("two-1", "getent hosts two-2").ok().contains("two-2"));
}

/// gVisor saves no connection to outside. The box must not pay for the attempt.
#[test]
fn a_box_with_a_connection_does_not_hibernate_and_goes_on() {
    let test = "a_box_with_a_connection_does_not_hibernate_and_goes_on";
    let Some(lab) = open(test) else { return };
    lab.boxherd(&[&["create", "one"], FLAGS].concat()).ok();
    // The host's kernel would keep the network of a box of its own for minutes, whose connection is
    // to somebody who has gone without a word.
    lab.boxherd(&[&["create", "client"], FLAGS].concat()).ok();
    let listen = "import socket; s = socket.create_server(('', 8000)); \
                  open('/root/ready', 'w'); c = s.accept(); s.accept()";
    let wait = "until test -e /root/ready; do sleep 0.01; done";
    let background = format!("setsid python3 -c \"{listen}\" </dev/null >/dev/null 2>&1 & {wait}");
    lab.sh("one", &background).ok();
    let connect = "import socket, time; s = socket.create_connection(('one', 8000)); \
                   open('/root/ready', 'w'); time.sleep(1000)";
    let background = format!("setsid python3 -c \"{connect}\" </dev/null >/dev/null 2>&1 & {wait}");
    lab.sh("client", &background).ok();
    lab.sh("one", COUNT).ok();
    let before = count(&lab, "one");
    for args in [&["hibernate", "one"][..], &["fork", "one", "two", "--live"]] {
        let refused = lab.boxherd(args);
        refused.refused();
        assert!(refused.err.contains("saves no network connection"), "{refused:?}");
        counts_on(&lab, "one", before);
    }
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok().lines().count(), 2);
}

#[test]
fn a_disk_copy_has_its_own_name_after_the_source_was_renewed() {
    let Some(lab) = open("a_disk_copy_has_its_own_name_after_the_source_was_renewed") else {
        return;
    };
    lab.create("one", FLAGS);
    lab.boxherd(&["hibernate", "one"]).ok();
    lab.boxherd(&["resume", "one"]).ok();
    lab.boxherd(&["fork", "one", "two"]).ok();
    assert_eq!(lab.sh("two", "cat /etc/hostname").ok(), "two\n");
}

#[test]
fn what_gvisor_cannot_do_is_refused_by_name() {
    let Some(lab) = open("what_gvisor_cannot_do_is_refused_by_name") else { return };
    let nested = lab.boxherd(&[&["create", "one", "--nesting"], FLAGS].concat());
    assert!(nested.err.contains("`nesting`"), "{nested:?}");
    lab.create("plain", &[]);
    for args in [&["hibernate", "plain"][..], &["fork", "plain", "copy", "--live"]] {
        let refused = lab.boxherd(args);
        refused.refused();
        assert!(refused.err.contains("`--isolation gvisor`"), "{refused:?}");
    }
}

#[test]
fn an_old_gvisor_is_refused_by_its_version() {
    let Some(lab) = open("an_old_gvisor_is_refused_by_its_version") else { return };
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("runsc");
    fs::write(&old, "#!/bin/sh\necho runsc version 0.0~20210101.0\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    // In mounts of its own, where the old one is in the place of the one that is installed.
    let hide = "mount --bind \"$1\" \"$(command -v runsc)\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", hide, "sh"]).arg(&old);
    command.arg(env!("CARGO_BIN_EXE_boxherd")).arg("--data").arg(lab.data());
    let refused = command.args(["create", "one"]).args(FLAGS).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("0.0~20210101.0") && said.contains("backports"), "{said}");
}

#[test]
fn an_ordinary_user_is_told_that_root_makes_such_boxes() {
    let test = "an_ordinary_user_is_told_that_root_makes_such_boxes";
    let Some(lab) = Lab::of_user(test, Ids::One) else { return };
    let refused = lab.boxherd(&[&["create", "one"], FLAGS].concat());
    refused.refused();
    assert!(refused.err.contains("root"), "{refused:?}");
}
