//! Boxes as wholes: states, copies, snapshots, names.

use crate::lab::Lab;

#[test]
fn files_outlive_stop_start_and_restart() {
    let Some(lab) = Lab::open("files_outlive_stop_start_and_restart") else { return };
    lab.create("web", &[]);
    lab.sh("web", "echo kept > /srv/note").ok();
    lab.boxherd(&["stop", "web"]).ok();
    assert!(lab.state("web").starts_with("stopped"));
    lab.boxherd(&["start", "web"]).ok();
    assert_eq!(lab.sh("web", "cat /srv/note").ok(), "kept\n");
    lab.boxherd(&["restart", "web"]).ok();
    assert_eq!(lab.sh("web", "cat /srv/note").ok(), "kept\n");
}

#[test]
fn a_suspended_box_is_woken_by_use() {
    let Some(lab) = Lab::open("a_suspended_box_is_woken_by_use") else { return };
    lab.create("web", &[]);
    lab.boxherd(&["suspend", "web"]).ok();
    assert!(lab.state("web").starts_with("suspended"));
    assert_eq!(lab.sh("web", "echo awake").ok(), "awake\n");
    assert!(lab.state("web").starts_with("running"));
}

#[test]
fn forks_have_the_disk_and_names_of_their_own() {
    let Some(lab) = Lab::open("forks_have_the_disk") else { return };
    lab.create("web", &[]);
    lab.sh("web", "echo here > /srv/note").ok();
    let made = lab.boxherd(&["fork", "web", "copy", "--count", "3"]).ok();
    assert_eq!(made, "copy-1\ncopy-2\ncopy-3\n");
    lab.sh("copy-2", "echo changed > /srv/note").ok();
    assert_eq!(lab.sh("copy-3", "cat /srv/note; hostname").ok(), "here\ncopy-3\n");
    assert_eq!(lab.sh("web", "cat /srv/note").ok(), "here\n");
    lab.boxherd(&["fork", "web", "copy-1"]).refused();
}

#[test]
fn a_snapshot_brings_the_disk_back() {
    let Some(lab) = Lab::open("a_snapshot_brings_the_disk_back") else { return };
    lab.create("web", &[]);
    lab.sh("web", "echo before > /srv/note").ok();
    assert_eq!(lab.boxherd(&["snapshot", "create", "web", "good"]).ok(), "good\n");
    lab.boxherd(&["snapshot", "create", "web", "good"]).refused();
    assert_eq!(lab.boxherd(&["snapshot", "ls", "web", "-q"]).ok(), "good\n");
    lab.sh("web", "echo after > /srv/note").ok();
    lab.boxherd(&["snapshot", "restore", "web", "good"]).refused();
    lab.boxherd(&["stop", "web"]).ok();
    lab.boxherd(&["snapshot", "restore", "web", "good"]).ok();
    lab.boxherd(&["start", "web"]).ok();
    assert_eq!(lab.sh("web", "cat /srv/note").ok(), "before\n");
    lab.boxherd(&["snapshot", "rm", "web", "good"]).ok();
    assert_eq!(lab.boxherd(&["snapshot", "ls", "web", "-q"]).ok(), "");
}

#[test]
fn a_box_is_renamed_and_labelled() {
    let Some(lab) = Lab::open("a_box_is_renamed_and_labelled") else { return };
    lab.create("old", &["-l", "gone=1"]);
    lab.create("taken", &[]);
    lab.boxherd(&["rename", "old", "taken"]).refused();
    lab.boxherd(&["rename", "old", "new"]).ok();
    lab.boxherd(&["show", "old"]).refused();
    let known =
        lab.sh("new", "hostname; cat /etc/hostname; getent hosts new; getent hosts old").out;
    assert_eq!(
        known, "new\nnew\n127.0.1.1       new\n",
        "a box knows its new name, also without a network"
    );
    lab.boxherd(&["label", "new", "tier=front", "gone-"]).ok();
    assert_eq!(lab.boxherd(&["ls", "-q", "-l", "tier=front"]).ok(), "new\n");
    assert_eq!(lab.boxherd(&["ls", "-q", "-l", "gone"]).ok(), "");
}

#[test]
fn a_running_box_is_deleted_only_by_force() {
    let Some(lab) = Lab::open("a_running_box_is_deleted_only_by_force") else { return };
    lab.create("web", &[]);
    assert!(lab.boxherd(&["rm", "web"]).err.contains("--force"));
    lab.boxherd(&["rm", "nobody", "web", "--force"]).refused();
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "", "the other one is deleted all the same");
    lab.create("web", &[]);
    lab.create("stopped", &[]);
    lab.boxherd(&["stop", "stopped"]).ok();
    lab.boxherd(&["rm", "stopped"]).ok();
    lab.boxherd(&["create", "web", "--network", "none"]).refused();
}

#[test]
fn first_and_last_boxes_come_and_go_at_once() {
    let Some(lab) = Lab::open("first_and_last_boxes_come_and_go_at_once") else { return };
    // Each may be the first, which makes what boxes share, and the last, which removes it.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..5 {
                    lab.boxherd(&["run", "--network", "none", "--", "true"]).ok();
                }
            });
        }
    });
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
}

#[test]
fn the_disk_of_a_removed_box_is_free_when_the_command_ends() {
    let Some(lab) = Lab::open("the_disk_of_a_removed_box_is_free") else { return };
    lab.create("web", &[]);
    let fill = "for i in $(seq 2000); do head -c 20000 /dev/zero > /srv/$i; done";
    lab.sh("web", fill).ok();
    lab.boxherd(&["rm", "--force", "web"]).ok();
    let mut left = std::fs::read_dir(lab.data().join("trash")).expect("a folder");
    assert!(left.next().is_none(), "the trash is not empty");
}
