//! Boxes that fill what they may write, and that try to write where nobody counts it. On a pool with
//! quotas, made as an operator would make it.

use std::fs;
use std::path::Path;

use crate::lab::Lab;
use crate::wait;

/// A data folder with a btrfs of its own, so that disks have limits.
fn pooled(test: &str) -> Option<Lab> {
    let able = boxherd_testkit::programs_or_skip(test, &["mkfs.btrfs", "umount"]);
    let lab = able.then(|| Lab::open(test)).flatten()?;
    lab.boxherd(&["doctor", "--fix", "--pool", "1GiB"]).ok();
    Some(lab)
}

/// Fills the disk with one file and then, where single bytes still fit, with small ones.
const FILL: &str = "dd if=/dev/zero of=/tmp/big bs=1M 2>&1; i=0
    while echo x > /tmp/$i; do i=$((i + 1)); test $i -lt 100000 || exit 9; done";

#[test]
fn a_full_disk_is_full_for_one_box() {
    let Some(lab) = pooled("a_full_disk_is_full_for_one_box") else { return };
    lab.create("hog", &["--disk", "64M"]);
    lab.create("neighbour", &["--disk", "64M"]);
    let said = lab.sh("hog", FILL);
    assert!(said.out.contains("quota exceeded"), "{said:?}");
    assert_eq!(said.code, Some(0), "and not one more small file: {said:?}");
    lab.sh("neighbour", "dd if=/dev/zero of=/tmp/x bs=1M count=32 conv=fsync").ok();
    lab.sh("hog", "dd if=/dev/zero of=/tmp/y bs=1M count=1 conv=fsync").refused();
    // It goes on without room, through a restart too, and can be deleted.
    assert_eq!(lab.sh("hog", "echo fine").ok(), "fine\n");
    lab.boxherd(&["restart", "hog"]).ok();
    assert_eq!(lab.sh("hog", "stat -c %s /tmp/big | cut -c1-2").ok(), "67\n", "nothing is lost");
    lab.boxherd(&["rm", "--force", "hog"]).ok();
    lab.sh("neighbour", "dd if=/dev/zero of=/tmp/z bs=1M count=16 conv=fsync").ok();
}

#[test]
fn what_is_copied_into_a_full_box_is_refused_and_leaves_the_old_file() {
    let Some(lab) = pooled("what_is_copied_into_a_full_box_is_refused") else { return };
    lab.create("hog", &["--disk", "32M"]);
    lab.sh("hog", "echo old > /srv/file").ok();
    lab.sh("hog", FILL).ok();
    let big = tempfile::NamedTempFile::new().expect("a file");
    fs::write(big.path(), vec![7; 8 << 20]).expect("write");
    let said = lab.boxherd(&["cp", big.path().to_str().expect("UTF-8"), "hog:/srv/file"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.starts_with("error: ") && said.err.contains("uota"), "{said:?}");
    assert_eq!(lab.sh("hog", "cat /srv/file").ok(), "old\n");
}

#[test]
fn a_hundred_thousand_files_are_deleted_with_their_box() {
    for lab in [Lab::open("a_hundred_thousand_files"), pooled("a_hundred_thousand_files")] {
        let Some(lab) = lab else { continue };
        lab.create("many", &[]);
        let touch = "for my $n (1..100000) { open my $f, '>', \"/tmp/file-$n\" or die $! }";
        lab.boxherd(&["exec", "many", "--", "perl", "-e", touch]).ok();
        assert!(holds(&lab.data(), "file-99999"), "they are on the host's disk");
        lab.boxherd(&["rm", "--force", "many"]).ok();
        assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
        // What one command did not get to free, the next does.
        wait::until("the files are gone", || {
            lab.boxherd(&["ls"]).ok();
            (!holds(&lab.data(), "file-99999")).then_some(())
        });
    }
}

/// Whether a file of that name is anywhere below `folder`.
fn holds(folder: &Path, name: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        entry.file_name() == name || folder && holds(&entry.path(), name)
    })
}

/// Makes the request `$request` of btrfs on each folder that a box may write to, and prints what
/// became of it.
const REQUEST: &str = "my ($request, $from, $name) = @ARGV;
    for my $folder ('/', '/tmp', '/srv', '/root') {
        opendir my $open, $folder or die; opendir my $source, '/' or die;
        my $argument = $request == 0x5000940e
            ? pack('q a4088', 0, $name)
            : pack('q x48 a4040', $from ? fileno $source : 0, $name);
        print syscall(16, fileno $open, 0 + $request, $argument) == 0 ? 'made' : $! + 0, ' ';
    }";

#[test]
fn subvolumes_cannot_be_made_inside() {
    let Some(lab) = pooled("subvolumes_cannot_be_made_inside") else { return };
    for (name, flags) in [("flat", &[][..]), ("nesting", &["--nesting"])] {
        lab.create(name, &[&["--disk", "64M"], flags].concat());
        // BTRFS_IOC_SUBVOL_CREATE, BTRFS_IOC_SUBVOL_CREATE_V2, BTRFS_IOC_SNAP_CREATE_V2
        for (request, from) in [(0x5000_940e_u32, "0"), (0x5000_9418, "0"), (0x5000_9417, "1")] {
            let request = request.to_string();
            let perl = ["exec", name, "--", "perl", "-e", REQUEST, &request, from, "nested"];
            assert_eq!(lab.boxherd(&perl).ok(), "25 25 25 25 ", "ENOTTY: {request} in `{name}`");
        }
        // The number of every subvolume's own folder.
        let made = lab.sh(name, "find / -xdev -mindepth 1 -inum 256 2>/dev/null | wc -l").ok();
        assert_eq!(made, "0\n");
        // What shares blocks within the box is none of this.
        lab.sh(name, "echo x > /tmp/a && cp --reflink=always /tmp/a /tmp/b").ok();
    }
}
