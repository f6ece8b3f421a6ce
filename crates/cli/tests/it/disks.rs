//! Disks that are attached to boxes while they run.

use std::os::unix::process::ExitStatusExt as _;

use crate::lab::Lab;

/// A lab that can have disks.
fn with_disks(test: &str) -> Option<Lab> {
    if !boxherd_testkit::programs_or_skip(test, &["mkfs.ext4"]) {
        return None;
    }
    Lab::open(test)
}

/// What `disk ls` says of the only disk: its box and the path, empty when it has none.
fn attached(lab: &Lab) -> (String, String) {
    let listed = lab.boxherd(&["disk", "ls", "-o", "json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let text = |field: &str| listed[0][field].as_str().unwrap_or_default().to_owned();
    (text("attached_to"), text("path"))
}

#[test]
fn a_disk_goes_from_box_to_box_and_keeps_what_was_written() {
    let Some(lab) = with_disks("a_disk_goes_from_box_to_box") else { return };
    lab.create("one", &[]);
    lab.create("two", &[]);
    lab.boxherd(&["disk", "create", "data", "32MiB"]).ok();
    lab.boxherd(&["disk", "attach", "data", "one", "/srv/data"]).ok();
    assert_eq!(attached(&lab), ("one".to_owned(), "/srv/data".to_owned()));
    lab.sh("one", "echo kept > /srv/data/file").ok();
    let refused = lab.boxherd(&["disk", "attach", "data", "two", "/srv"]);
    assert!(refused.code == Some(1) && refused.err.contains("is in use"), "{refused:?}");
    let refused = lab.boxherd(&["disk", "rm", "data"]);
    assert!(refused.code == Some(1) && refused.err.contains("is in use"), "{refused:?}");
    lab.boxherd(&["restart", "one"]).ok();
    assert_eq!(lab.sh("one", "cat /srv/data/file").ok(), "kept\n");
    lab.boxherd(&["rm", "--force", "one"]).ok();
    lab.boxherd(&["disk", "attach", "data", "two", "/mnt", "--read-only"]).ok();
    assert_eq!(
        lab.sh("two", "cat /mnt/file; ! touch /mnt/new 2>/dev/null && echo no").ok(),
        "kept\nno\n"
    );
    lab.boxherd(&["disk", "detach", "data", "two"]).ok();
    lab.boxherd(&["disk", "rm", "data"]).ok();
    assert_eq!(lab.boxherd(&["disk", "ls", "-q"]).ok(), "");
}

#[test]
fn whoever_dies_while_a_disk_is_attached_or_detached_is_followed_by_one_who_can() {
    let attach = ["disk", "attach", "data", "one", "/srv/data"];
    let detach = ["disk", "detach", "data", "one"];
    for (step, command) in [
        ("attach.claimed", &attach[..]),
        ("attach.mounted", &attach),
        ("detach.unmounted", &detach),
    ] {
        let Some(lab) = with_disks("whoever_dies_while_a_disk_is_attached") else { return };
        lab.create("one", &[]);
        lab.boxherd(&["disk", "create", "data", "32MiB"]).ok();
        if command == detach {
            lab.boxherd(&attach).ok();
        }
        let killed = lab.command(command).env("BOXHERD_KILL_AT", step).output();
        let killed = killed.expect("boxherd runs");
        assert_eq!(killed.status.signal(), Some(9), "{step} is not reached: {killed:?}");
        assert_eq!(attached(&lab).0, "one", "{step}");
        lab.boxherd(command).ok();
        if command == attach {
            lab.sh("one", "echo x > /srv/data/file; grep -q /srv/data /proc/mounts").ok();
            lab.boxherd(&detach).ok();
        }
        assert_eq!(attached(&lab).0, "", "{step}");
        assert_eq!(lab.sh("one", "ls /srv/data").ok(), "", "{step}");
        lab.boxherd(&["disk", "rm", "data"]).ok();
    }
}

#[test]
fn a_box_with_gvisor_has_no_disks_and_says_so() {
    let test = "a_box_with_gvisor_has_no_disks";
    if !boxherd_testkit::programs_or_skip(test, &["runsc"]) {
        return;
    }
    let Some(lab) = with_disks(test) else { return };
    lab.create("one", &["--isolation", "gvisor"]);
    lab.boxherd(&["disk", "create", "data", "32MiB"]).ok();
    let refused = lab.boxherd(&["disk", "attach", "data", "one", "/srv"]);
    assert!(refused.code == Some(1) && refused.err.contains("gVisor"), "{refused:?}");
    assert_eq!(attached(&lab).0, "");
}
