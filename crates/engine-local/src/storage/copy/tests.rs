//! A copy equals its original, whatever the original is; one of a tree that changes ends, inside.

mod model;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, mkdirat, openat};

use super::copy_tree;
use crate::storage::StorageError;

/// Other owners, whiteouts and trusted attributes are for root to make.
fn root(test: &str) -> bool {
    boxherd_testkit::root_or_skip(test)
}

/// Empty folders `source` and `target`.
fn stage() -> tempfile::TempDir {
    let stage = tempfile::tempdir().unwrap();
    for name in ["source", "target"] {
        fs::create_dir(stage.path().join(name)).unwrap();
    }
    stage
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_copy_equals_its_original(tree in model::tree()) {
        if root("a_copy_equals_its_original") {
            let stage = stage();
            let [source, target] = ["source", "target"].map(|name| stage.path().join(name));
            tree.make(&source);
            let original = model::look(&source);
            copy_tree(&source, &target).unwrap();
            prop_assert_eq!(model::look(&target), original);
        }
    }
}

#[test]
fn a_device_is_refused_by_name() {
    if !root("a_device_is_refused_by_name") {
        return;
    }
    let stage = stage();
    let device = stage.path().join("source/null");
    let (kind, null) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    rustix::fs::mknodat(CWD, &device, kind, Mode::from(0o600), null).unwrap();
    let refused = copy_tree(&stage.path().join("source"), &stage.path().join("target"));
    assert!(matches!(refused, Err(StorageError::Device { path }) if path == device));
}

/// More folders in each other than a process has descriptors, with names that make their paths
/// longer than the kernel takes, two folders in each, and a file with a name at either end.
fn dig(top: &Path, depth: usize) {
    let open = |at: &OwnedFd, name: &str| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(at, name, flags, Mode::empty()).unwrap()
    };
    fs::write(top.join("top"), "a file with two names").unwrap();
    let mut at = OwnedFd::from(File::open(top).unwrap());
    for _ in 0..depth {
        for name in ["a folder in a folder", "beside"] {
            mkdirat(&at, name, Mode::RWXU).unwrap();
        }
        at = open(&at, "a folder in a folder");
    }
    linkat(CWD, top.join("top"), &at, "one end", AtFlags::empty()).unwrap();
    linkat(CWD, top.join("top"), &at, "the other", AtFlags::empty()).unwrap();
}

/// The number of folders on the way down, and of the names of the file at the end.
fn measure(top: &Path) -> (usize, u64) {
    let mut at = OwnedFd::from(File::open(top).unwrap());
    for depth in 0.. {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(&at, "a folder in a folder", flags, Mode::empty()) {
            Ok(inner) => at = inner,
            Err(_) => {
                let end = rustix::fs::statat(&at, "the other", AtFlags::empty()).unwrap();
                return (depth, end.st_nlink);
            }
        }
    }
    unreachable!("there is an end")
}

#[test]
fn neither_copies_nor_removals_need_a_descriptor_per_level() {
    const DEPTH: usize = 1000;
    // Limits are the whole process's, and other tests may be in this one.
    const FEW: &str = "BOXHERD_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(FEW).is_none() {
        let test = "storage::copy::tests::neither_copies_nor_removals_need_a_descriptor_per_level";
        let mut again = Command::new("prlimit");
        again.arg("--nofile=64").arg(std::env::current_exe().unwrap());
        let ran = again.args(["--exact", test, "--nocapture"]).env(FEW, "1").output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        assert!(String::from_utf8_lossy(&ran.stdout).contains("1 passed"), "{ran:?}");
        return;
    }
    let stage = stage();
    let [source, target] = ["source", "target"].map(|name| stage.path().join(name));
    dig(&source, DEPTH);
    copy_tree(&source, &target).unwrap();
    assert_eq!(measure(&target), (DEPTH, 3));
    crate::storage::remove(&source).unwrap();
    crate::storage::remove(&target).unwrap();
    assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 0, "something is left beside");
}

/// Does `change` again and again in the source while it is copied, many times over.
fn while_changing(source: &Path, target: &Path, change: impl Fn(&Path) + Sync) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                change(source);
            }
        });
        for round in 0..200 {
            let target = target.join(round.to_string());
            fs::create_dir(&target).unwrap();
            // Either is right for what does not stand still; what is copied is looked at later.
            drop(copy_tree(source, &target));
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_folder_that_becomes_a_symlink_leads_nowhere() {
    let stage = stage();
    let [source, target, outside] =
        ["source", "target", "outside"].map(|name| stage.path().join(name));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "of the host").unwrap();
    for name in ["folder", "folder/inner"] {
        fs::create_dir(source.join(name)).unwrap();
    }
    fs::write(source.join("folder/file"), "of the box").unwrap();
    let (real, link) = (source.join("folder"), source.join("link"));
    symlink(&outside, &link).unwrap();
    while_changing(&source, &target, |_| {
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(CWD, &real, CWD, &link, exchange).unwrap();
    });
    assert_eq!(search(&target, "secret"), Vec::<std::path::PathBuf>::new());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "something was written outside");
}

/// Where a name is found, without following symlinks.
fn search(folder: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(search(&entry.path(), name));
        } else if entry.file_name() == name {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_file_that_becomes_anything_else_is_a_copy_or_an_error() {
    let stage = stage();
    let [source, target] = ["source", "target"].map(|name| stage.path().join(name));
    let secret = stage.path().join("secret");
    fs::write(&secret, "of the host").unwrap();
    while_changing(&source, &target, |source| {
        let file = source.join("file");
        fs::write(&file, "of the box").unwrap();
        fs::remove_file(&file).unwrap();
        symlink(&secret, &file).unwrap();
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(CWD, &file, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        fs::remove_dir(&file).unwrap();
    });
    for copy in search(&target, "file") {
        let is_file = fs::symlink_metadata(&copy).unwrap().is_file();
        assert!(!is_file || fs::read(&copy).unwrap() != b"of the host", "{}", copy.display());
    }
}

#[test]
fn a_file_that_grows_and_shrinks_is_copied_to_an_end() {
    let stage = stage();
    let [source, target] = ["source", "target"].map(|name| stage.path().join(name));
    fs::write(source.join("file"), "").unwrap();
    while_changing(&source, &target, |source| {
        let file = File::options().write(true).open(source.join("file")).unwrap();
        for hole in (0..64).step_by(2) {
            file.write_all_at(&[7; 4096], hole * 4096).unwrap();
        }
        file.set_len(1 << 30).unwrap();
        file.set_len(0).unwrap();
    });
    assert_eq!(fs::read_dir(&target).unwrap().count(), 200);
}
