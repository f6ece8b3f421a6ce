//! The host is restarted: as far as boxes can tell, every process is gone, and so is what the kernel
//! had of groups and networks; the data folder is not.

use std::fs;
use std::path::Path;
use std::process::Command;

use boxherd_store::{SqliteStore, Store as _};

use crate::lab::Lab;

/// Ends all that is there of boxes, and has the data folder remember another boot than this one.
pub(crate) fn restart_host(lab: &Lab) {
    for entry in fs::read_dir(lab.data().join("boxes")).unwrap() {
        let path = entry.unwrap().path().join("runtime.json");
        let mut runtime: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let pid = runtime["pid"].to_string();
        // One that hibernates has no process.
        if Path::new("/proc").join(&pid).exists() {
            run("kill", &["-9", &pid]);
        }
        runtime["boot_id"] = EARLIER.into();
        fs::write(&path, runtime.to_string()).unwrap();
    }
    let installation = fs::read_to_string(lab.data().join("installation")).unwrap();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let group = hierarchy.path().join(format!("boxherd-{}", installation.trim()));
        if group.is_dir() {
            remove_empty_folders(&group);
        }
    }
    let device = format!("bh{}000", &installation[..5]);
    if !Path::new("/sys/class/net").join(&device).exists() {
        // No box had a network.
        return remember_another_boot(lab);
    }
    run("ip", &["link", "delete", &device]);
    run("nft", &["delete", "table", "inet", &device]);
    run("nft", &["delete", "table", "arp", &device]);
    remember_another_boot(lab);
}

fn remember_another_boot(lab: &Lab) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&lab.data().join("herd.db")).unwrap();
        store.set_fact("boot-id", EARLIER).await.unwrap();
    });
}

/// The boot before.
const EARLIER: &str = "11111111-2222-4333-8444-555555555555";

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

/// A group can be removed once the kernel has seen its last process off.
fn remove_empty_folders(group: &Path) {
    for entry in fs::read_dir(group).unwrap().flatten() {
        if entry.path().is_dir() {
            remove_empty_folders(&entry.path());
        }
    }
    crate::wait::until("the group is empty", || fs::remove_dir(group).ok());
}

#[test]
fn boxes_come_back_after_the_host_was_restarted() {
    let Some(lab) = Lab::open("boxes_come_back_after_the_host_was_restarted") else { return };
    let log = "echo started >> /root/log; exec sleep 1000";
    lab.boxherd(&["create", "always", "--restart", "always", "--", "sh", "-c", log]).ok();
    lab.boxherd(&["create", "other"]).ok();
    lab.boxherd(&["create", "frozen"]).ok();
    lab.sh("other", "echo data > /root/f").ok();
    lab.boxherd(&["suspend", "frozen"]).ok();

    restart_host(&lab);
    let listed = lab.boxherd(&["ls", "-o", "json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let mut states: Vec<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|found| format!("{} {} {}", found["spec"]["name"], found["state"], found["reason"]))
        .map(|text| text.replace('"', ""))
        .collect();
    states.sort();
    assert_eq!(
        states,
        ["always running null", "frozen stopped host-reboot", "other stopped host-reboot"]
    );
    let sh = |name: &str, line: &str| lab.sh(name, line).ok();
    crate::wait::until("the program runs again", || {
        (sh("always", "cat /root/log") == "started\nstarted\n").then_some(())
    });
    lab.boxherd(&["start", "other", "frozen"]).ok();
    assert_eq!(sh("other", "cat /root/f"), "data\n");
    assert_eq!(sh("frozen", "hostname"), "frozen\n");
    // The network is there again, with names and ways between boxes.
    assert!(sh("other", "getent hosts always").contains("always"));
    let address = sh("always", "hostname -I 2>/dev/null || ip -4 -o addr show eth0");
    assert!(address.contains("10."), "{address}");
}
