//! What a box sees of the host and of other boxes.

use std::fs;

use crate::lab::Lab;

#[test]
fn host_files_are_not_there() {
    let Some(lab) = Lab::open("host_files_are_not_there") else { return };
    lab.create("evil", &[]);
    let secret = lab.data().join("secret-of-the-host");
    fs::write(&secret, "the secret").expect("write");
    let path = secret.to_string_lossy();
    for line in [
        format!("cat {path}"),
        format!("cat /proc/1/root{path}"),
        format!("cat /proc/self/root{path}"),
        format!("cd / && cat ../../../..{path}"),
        "cat /etc/shadow | grep -v '^[^:]*:[*!]'".to_owned(),
        "ls -A /root | grep -q .".to_owned(),
        "ls -A /home | grep -q .".to_owned(),
        "ls -A /srv | grep -q .".to_owned(),
        "find /var /opt -type f 2>/dev/null | grep -q .".to_owned(),
    ] {
        lab.sh("evil", &line).refused();
    }
}

#[test]
fn only_itself_and_the_agent_are_running() {
    let Some(lab) = Lab::open("only_itself_and_the_agent_are_running") else { return };
    lab.create("alone", &[]);
    let pids = lab.sh("alone", "echo /proc/[0-9]*").ok();
    assert_eq!(pids.split_whitespace().count(), 2, "the agent and `sh`: {pids}");
    assert!(pids.contains("/proc/1"), "{pids}");
    assert_eq!(
        lab.sh("alone", "cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline").ok(),
        "boxherd-agent\nboxherd-agent "
    );
}

#[test]
fn processes_of_the_host_cannot_be_signalled() {
    let Some(lab) = Lab::open("processes_of_the_host_cannot_be_signalled") else { return };
    lab.create("evil", &[]);
    let host = std::process::id();
    lab.sh("evil", &format!("kill -0 {host}")).refused();
    // -1 reaches every process of the box's own namespace but the agent, and none outside.
    lab.sh("evil", "kill -KILL -1");
    assert_eq!(lab.sh("evil", "echo still here").ok(), "still here\n");
}

#[test]
fn two_boxes_have_nothing_in_common() {
    let Some(lab) = Lab::open("two_boxes_have_nothing_in_common") else { return };
    lab.create("one", &[]);
    lab.create("two", &[]);
    lab.sh("one", "echo mine > /tmp/x; echo mine > /dev/shm/x; chmod 777 /tmp/x").ok();
    lab.sh("two", "cat /tmp/x").refused();
    lab.sh("two", "cat /dev/shm/x").refused();
    let identity = "cat /etc/machine-id /proc/sys/kernel/random/uuid; for n in user pid mnt net uts ipc cgroup; do readlink /proc/self/ns/$n; done";
    let (one, two) = (lab.sh("one", identity).ok(), lab.sh("two", identity).ok());
    for (a, b) in one.lines().zip(two.lines()) {
        assert_ne!(a, b);
    }
}
