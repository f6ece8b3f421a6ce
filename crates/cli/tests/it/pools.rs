//! Loop-backed pools: made by programs that are killed, gone with the host, cut short.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use crate::lab::{Lab, Said};
use crate::reboot::restart_host;

const FIX: &[&str] = &["doctor", "--fix", "--pool", "256MiB"];

fn lab(test: &str) -> Option<Lab> {
    let able = boxherd_testkit::programs_or_skip(test, &["mkfs.btrfs", "umount"]);
    able.then(|| Lab::open(test)).flatten()
}

fn pooled(test: &str) -> Option<Lab> {
    let lab = lab(test)?;
    lab.boxherd(FIX).ok();
    Some(lab)
}

fn image(lab: &Lab) -> PathBuf {
    lab.data().join("pool.img")
}

/// Whether limits hold, and nothing is left of an attempt.
fn works(lab: &Lab, step: &str) {
    lab.create("limited", &["--disk", "32M"]);
    let said = lab.sh("limited", "head -c 100000000 /dev/zero > /srv/file");
    assert!(said.err.contains("quota exceeded"), "{step}: {said:?}");
    for left in ["pool.new", "pool.img.new"] {
        assert!(!lab.data().join(left).exists(), "`{left}` after {step}");
    }
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let data = lab.data().display().to_string();
    let ours: Vec<_> = table.lines().filter(|line| line.contains(&data)).collect();
    assert_eq!(ours.len(), 1, "after {step}: {ours:#?}");
    lab.boxherd(&["rm", "--force", "limited"]).ok();
}

#[test]
fn killed_at_any_step_of_making_a_pool_the_next_attempt_ends_it() {
    let steps = boxherd_engine_local::STEPS.iter().filter(|step| step.starts_with("pool."));
    for step in steps {
        let Some(lab) = lab("killed_at_any_step_of_making_a_pool") else { return };
        let killed = lab.command(FIX).env("BOXHERD_KILL_AT", step).output().expect("boxherd runs");
        assert_eq!(killed.status.signal(), Some(9), "{step} is not reached: {killed:?}");
        // Whoever comes first finds a pool or none, and can use what there is.
        lab.create("early", &[]);
        assert_eq!(lab.sh("early", "echo fine").ok(), "fine\n", "after {step}");
        lab.boxherd(&["rm", "--force", "early"]).ok();
        crate::wait::until("the disk of the box is gone", || {
            lab.boxherd(&["ls"]).ok();
            let mut layers = fs::read_dir(lab.data().join("layers")).expect("a folder");
            layers.next().is_none().then_some(())
        });
        lab.boxherd(FIX).ok();
        works(&lab, step);
    }
}

#[test]
fn a_pool_that_somebody_made_without_quotas_gets_them() {
    let Some(lab) = lab("a_pool_that_somebody_made_without_quotas") else { return };
    lab.boxherd(&["ls"]).ok();
    File::create(image(&lab)).expect("a file").set_len(256 << 20).expect("a size");
    let made = std::process::Command::new("mkfs.btrfs").arg("-q").arg(image(&lab)).status();
    assert!(made.expect("mkfs.btrfs runs").success());
    let said = lab.boxherd(&["create", "one", "--network", "none", "--disk", "32M"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    lab.boxherd(FIX).ok();
    works(&lab, "mkfs.btrfs");
}

#[test]
fn no_pool_hides_the_disks_of_boxes() {
    let Some(lab) = lab("no_pool_hides_the_disks_of_boxes") else { return };
    lab.create("one", &[]);
    lab.sh("one", "echo kept > /srv/file").ok();
    let said = lab.boxherd(FIX);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("hint: `boxherd rm` the boxes first"), "{said:?}");
    assert!(!image(&lab).exists());
    assert_eq!(lab.sh("one", "cat /srv/file").ok(), "kept\n");
}

#[test]
fn boxes_of_a_pool_come_back_after_the_host_was_restarted() {
    let Some(lab) = pooled("boxes_of_a_pool_come_back") else { return };
    let log = "echo started >> /root/log; exec sleep 1000";
    lab.create("always", &["--restart", "always", "--disk", "32M", "--", "sh", "-c", log]);
    lab.create("other", &["--disk", "32M"]);
    lab.sh("other", "echo kept > /srv/file; sync").ok();
    lab.boxherd(&["snapshot", "create", "other", "saved"]).ok();

    restart_host(&lab);
    boxherd_testkit::unmount_pool(&lab.data());
    assert_eq!(lab.state("other"), "stopped host-reboot");
    assert_eq!(lab.state("always"), "running null");
    lab.boxherd(&["start", "other"]).ok();
    assert_eq!(lab.sh("other", "cat /srv/file").ok(), "kept\n");
    let said = lab.sh("other", "head -c 100000000 /dev/zero > /srv/zeros");
    assert!(said.err.contains("quota exceeded"), "{said:?}");
    lab.boxherd(&["stop", "other"]).ok();
    lab.boxherd(&["snapshot", "restore", "other", "saved"]).ok();
}

/// Every command says what is wrong with the pool, changes nothing, and everything is there when the
/// pool is mended.
fn is_told_and_mended(test: &str, says: &str, harm: fn(&Lab), mend: fn(&Lab)) {
    let Some(lab) = pooled(test) else { return };
    lab.create("one", &["--disk", "32M"]);
    lab.sh("one", "echo kept > /srv/file; sync").ok();
    lab.boxherd(&["stop", "one"]).ok();
    boxherd_testkit::unmount_pool(&lab.data());
    harm(&lab);
    for command in
        [&["start", "one"][..], &["create", "two"], &["fork", "one", "two"], FIX, &["ls"]]
    {
        let Said { code, err, .. } = lab.boxherd(command);
        assert_eq!(code, Some(1), "{command:?}: {err}");
        assert!(err.contains(says) && err.contains("\nhint: "), "{command:?}: {err}");
    }
    mend(&lab);
    lab.boxherd(&["start", "one"]).ok();
    assert_eq!(lab.sh("one", "cat /srv/file").ok(), "kept\n");
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "one\n");
}

#[test]
fn a_pool_that_was_cut_short_is_told_and_nothing_is_lost() {
    // What is cut off was never written to.
    is_told_and_mended(
        "a_pool_that_was_cut_short_is_told",
        "damaged or was cut short",
        |lab| cut(lab, 250 << 20),
        |lab| cut(lab, 256 << 20),
    );
}

fn cut(lab: &Lab, size: u64) {
    let file = OpenOptions::new().write(true).open(image(lab)).expect("the pool");
    file.set_len(size).expect("a size");
}

/// Where the first superblock of btrfs is, and its size, in bytes.
const SUPERBLOCK: (u64, usize) = (64 << 10, 4 << 10);

#[test]
fn a_damaged_pool_is_told_and_nothing_is_lost() {
    fn swap(lab: &Lab) {
        let (at, size) = SUPERBLOCK;
        let mut file =
            OpenOptions::new().read(true).write(true).open(image(lab)).expect("the pool");
        let mut bytes = vec![0; size];
        file.seek(SeekFrom::Start(at)).expect("seek");
        file.read_exact(&mut bytes).expect("read");
        bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
        file.seek(SeekFrom::Start(at)).expect("seek");
        file.write_all(&bytes).expect("write");
    }
    is_told_and_mended("a_damaged_pool_is_told", "damaged or was cut short", swap, swap);
}

#[test]
fn a_pool_that_is_gone_is_told_and_nothing_is_lost() {
    is_told_and_mended(
        "a_pool_that_is_gone_is_told",
        "is gone",
        |lab| fs::rename(image(lab), lab.data().join("elsewhere")).expect("rename"),
        |lab| fs::rename(lab.data().join("elsewhere"), image(lab)).expect("rename"),
    );
}
