//! The data folder on a filesystem without space: a clear error each time, nothing half made, and the
//! same command works when there is space again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{Lab, Said};

const KINDS: [&str; 3] = ["ext4", "btrfs", "tmpfs"];

/// A box that has written `mib`.
const WRITE: &str = "for n in 1 2 3 4; do head -c 5000000 /dev/urandom > /srv/data$n; done";

fn labs(test: &str) -> impl Iterator<Item = Lab> {
    KINDS.into_iter().filter_map(move |kind| {
        eprintln!("on {kind}");
        Lab::small(test, kind, 128)
    })
}

/// Says what is full, and what to do.
fn is_told(said: &Said) {
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.starts_with("error: ") && said.err.contains(" space "), "{said:?}");
    assert!(said.err.contains("\nhint: free space "), "{said:?}");
}

/// What is in the data folder, of all that a command may leave half made.
fn things(lab: &Lab) -> BTreeSet<PathBuf> {
    let folders = [
        "boxes",
        "layers",
        "snapshots",
        "making",
        "trash",
        "uids",
        "images/images",
        "images/layers",
        "images/manifests",
        "images/tmp",
        "images/partial",
    ];
    let entries = |folder: &str| {
        let entries = fs::read_dir(lab.data().join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let found = folders.iter().flat_map(|folder| entries(folder));
    // Where the snapshots of a box are, and none yet.
    found.filter(|path| !is_empty_folder(path)).collect()
}

fn is_empty_folder(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with("snapshots"))
        && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Runs a command without space, and again with it.
fn fails_then_works(lab: &Lab, left: u64, command: &[&str]) {
    // What was deleted before is freed in the background.
    crate::wait::until("the trash is empty", || {
        lab.boxherd(&["ls"]).ok();
        let mut trash = fs::read_dir(lab.data().join("trash")).expect("a folder");
        trash.next().is_none().then_some(())
    });
    let before = things(lab);
    lab.fill(left);
    is_told(&lab.boxherd(command));
    // What was taken away is freed in the background; the next command goes on with it.
    crate::wait::until("nothing is left half made", || {
        lab.boxherd(&["ls"]).ok();
        (things(lab) == before).then_some(())
    });
    lab.free();
    lab.boxherd(command).ok();
}

#[test]
fn nothing_is_made_in_a_folder_without_space() {
    for lab in labs("nothing_is_made_in_a_folder_without_space") {
        lab.fill(0);
        is_told(&lab.boxherd(&["create", "one", "--network", "none"]));
        lab.free();
        lab.create("one", &[]);
        assert_eq!(lab.sh("one", "echo fine").ok(), "fine\n");
    }
}

#[test]
fn a_box_is_made_when_there_is_space_again() {
    for lab in labs("a_box_is_made_when_there_is_space_again") {
        lab.create("one", &[]);
        fails_then_works(&lab, 0, &["create", "two", "--network", "none"]);
    }
}

#[test]
fn copies_and_snapshots_are_whole_or_not_at_all() {
    // On btrfs they take no space.
    for kind in ["ext4", "tmpfs"] {
        let Some(lab) = Lab::small("copies_and_snapshots_are_whole", kind, 128) else { return };
        lab.create("one", &[]);
        lab.sh("one", WRITE).ok();
        fails_then_works(&lab, 10 << 20, &["fork", "one", "two"]);
        lab.boxherd(&["rm", "--force", "two"]).ok();
        fails_then_works(&lab, 10 << 20, &["snapshot", "create", "one", "saved"]);
        lab.boxherd(&["stop", "one"]).ok();
        fails_then_works(&lab, 10 << 20, &["snapshot", "restore", "one", "saved"]);
        lab.boxherd(&["start", "one"]).ok();
        assert_eq!(lab.sh("one", "cat /srv/* | wc -c").ok(), "20000000\n");
    }
}

#[test]
fn uploads_leave_the_old_file_or_none() {
    for lab in labs("uploads_leave_the_old_file_or_none") {
        lab.create("one", &[]);
        lab.sh("one", "echo old > /srv/file; mkdir /srv/tree").ok();
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).expect("a folder");
        let noise: Vec<u8> =
            (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(tree.join("big"), noise).expect("a file");
        let (big, tree) = (tree.join("big"), tree.display().to_string());
        fails_then_works(&lab, 10 << 20, &["cp", &big.display().to_string(), "one:/srv/new"]);
        lab.sh("one", "rm /srv/new; sync").ok();
        lab.fill(10 << 20);
        is_told(&lab.boxherd(&["cp", &big.display().to_string(), "one:/srv/file"]));
        is_told(&lab.boxherd(&["cp", &tree, "one:/srv/"]));
        assert_eq!(lab.sh("one", "cat /srv/file; ls /srv/tree").ok(), "old\n");
        lab.free();
        lab.boxherd(&["cp", &tree, "one:/srv/"]).ok();
        assert_eq!(lab.sh("one", "stat -c %s /srv/tree/big").ok(), "20000000\n");
    }
}

#[test]
fn images_are_imported_whole_or_not_at_all() {
    for lab in labs("images_are_imported_whole_or_not_at_all") {
        let folder = tempfile::tempdir().expect("a folder");
        let tarball = crate::rootfs::rootfs(folder.path());
        let tarball = tarball.display().to_string();
        lab.boxherd(&["ls"]).ok();
        lab.fill(1 << 20);
        lab.boxherd(&["image", "ls"]).ok();
        lab.free();
        fails_then_works(&lab, 1 << 20, &["image", "import", "tiny", &tarball]);
        lab.create("one", &["--image", "tiny"]);
    }
}

#[test]
fn room_is_made_where_there_is_none() {
    for lab in labs("room_is_made_where_there_is_none") {
        lab.create("one", &[]);
        lab.create("two", &[]);
        lab.boxherd(&["snapshot", "create", "one", "saved"]).ok();
        lab.fill(0);
        // As a box would that fills whatever it gets.
        lab.sh("two", "cat /dev/zero > /srv/zeros").refused();
        lab.boxherd(&["snapshot", "rm", "one", "saved"]).ok();
        lab.boxherd(&["rm", "--force", "two"]).ok();
        assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "one\n");
        lab.free();
        lab.create("two", &[]);
    }
}

#[test]
fn a_pool_is_made_when_there_is_space_again() {
    let Some(lab) = Lab::small("a_pool_is_made_when_there_is_space_again", "ext4", 512) else {
        return;
    };
    lab.boxherd(&["ls"]).ok();
    lab.fill(2 << 20);
    is_told(&lab.boxherd(&["doctor", "--fix", "--pool", "256MiB"]));
    assert!(!lab.data().join("pool.img").exists() && !lab.data().join("pool.img.new").exists());
    lab.free();
    lab.boxherd(&["doctor", "--fix", "--pool", "256MiB"]).ok();
    lab.create("one", &["--disk", "64M"]);
}
