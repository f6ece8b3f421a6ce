//! Copies into boxes and out of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Lab, Said};
use crate::wait;

#[test]
fn a_file_goes_in_and_out_with_its_mode() {
    let Some(lab) = Lab::open("a_file_goes_in_and_out") else { return };
    lab.create("web", &[]);
    let here = tempfile::tempdir().expect("tempdir");
    let (there, back) = (here.path().join("there"), here.path().join("back"));
    fs::write(&there, "content").expect("write");
    fs::set_permissions(&there, fs::Permissions::from_mode(0o750)).expect("chmod");
    lab.boxherd(&["cp", there.to_str().expect("UTF-8"), "web:/srv/file"]).ok();
    assert_eq!(lab.sh("web", "stat -c '%a %u' /srv/file; cat /srv/file").ok(), "750 0\ncontent");
    lab.boxherd(&["cp", "web:/srv/file", back.to_str().expect("UTF-8")]).ok();
    assert_eq!(fs::read_to_string(&back).expect("read"), "content");
    assert_eq!(fs::metadata(&back).expect("stat").permissions().mode() & 0o777, 0o750);
}

#[test]
fn a_tree_goes_in_and_out_with_its_links() {
    let Some(lab) = Lab::open("a_tree_goes_in_and_out") else { return };
    lab.create("web", &[]);
    let here = tempfile::tempdir().expect("tempdir");
    let tree = here.path().join("tree");
    fs::create_dir_all(tree.join("deep/er")).expect("mkdir");
    fs::write(tree.join("deep/er/file"), "x").expect("write");
    symlink("deep/er/file", tree.join("link")).expect("symlink");
    lab.boxherd(&["cp", tree.to_str().expect("UTF-8"), "web:/srv"]).ok();
    assert_eq!(
        lab.sh("web", "cat /srv/tree/link; readlink /srv/tree/link").ok(),
        "xdeep/er/file\n"
    );
    let back = here.path().join("back");
    lab.boxherd(&["cp", "web:/srv/tree", back.to_str().expect("UTF-8")]).ok();
    assert_eq!(fs::read_to_string(back.join("link")).expect("read"), "x");
}

#[test]
fn a_dash_is_an_archive() {
    let Some(lab) = Lab::open("a_dash_is_an_archive") else { return };
    lab.create("web", &[]);
    lab.sh("web", "mkdir /srv/a /srv/b; echo x > /srv/a/file").ok();
    let mut out = lab
        .command(&["cp", "web:/srv/a/.", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("boxherd runs");
    let archive = out.stdout.take().expect("piped");
    let said: Said =
        lab.command(&["cp", "-", "web:/srv/b"]).stdin(archive).output().expect("runs").into();
    said.ok();
    assert!(out.wait().expect("it ends").success());
    assert_eq!(lab.sh("web", "cat /srv/b/file").ok(), "x\n");
    let listed = |path: &str| {
        let archive = lab.command(&["cp", path, "-"]).output().expect("runs").stdout;
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), archive).expect("write");
        let listed = Command::new("tar").arg("-tf").arg(file.path()).output().expect("tar");
        String::from_utf8(listed.stdout).expect("UTF-8")
    };
    // As `docker cp` has it.
    assert_eq!(listed("web:/srv/a"), "a/\na/file\n");
    assert_eq!(listed("web:/srv/a/"), "a/\na/file\n");
    assert_eq!(listed("web:/srv/a/."), "file\n");
    assert_eq!(listed("web:/srv/a/file"), "file\n");
}

#[test]
fn a_copy_that_is_interrupted_leaves_the_old_file() {
    let Some(lab) = Lab::open("a_copy_that_is_interrupted") else { return };
    lab.create("web", &[]);
    // More than is ever copied, and no disk.
    lab.sh("web", "truncate -s 1T /srv/large").ok();
    let folder = tempfile::tempdir().expect("tempdir");
    let here = folder.path().join("file");
    fs::write(&here, "old").expect("write");
    let large = folder.path().join("large");
    fs::File::create(&large).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    lab.sh("web", "echo old > /srv/file").ok();
    let files = || {
        let there = lab.sh("web", "ls -A /srv").ok().lines().count();
        there + fs::read_dir(folder.path()).expect("ls").count()
    };
    let before = files();
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    for (from, to) in
        [("web:/srv/large".to_owned(), path(&here)), (path(&large), "web:/srv/file".to_owned())]
    {
        let copy = lab.command(&["cp", &from, &to]).stderr(Stdio::piped()).spawn();
        let copy = copy.expect("boxherd runs");
        wait::until("a draft is beside the old file", || (files() > before).then_some(()));
        let interrupted = kill_process(Pid::from_child(&copy), Signal::INT);
        let said: Said = copy.wait_with_output().expect("it ends").into();
        assert_eq!((interrupted, said.code), (Ok(()), Some(1)), "{said:?}");
        assert!(said.err.starts_with("error: interrupted\nhint: "), "{said:?}");
        wait::until("the draft is gone", || (files() == before).then_some(()));
    }
    assert_eq!(fs::read_to_string(&here).expect("read"), "old");
    assert_eq!(lab.sh("web", "cat /srv/file").ok(), "old\n");
}

#[test]
fn what_is_not_there_cannot_be_copied() {
    let Some(lab) = Lab::open("what_is_not_there") else { return };
    lab.create("web", &[]);
    for args in [
        ["cp", "web:/no/such/file", "/tmp/"],
        ["cp", "/no/such/file", "web:/srv"],
        ["cp", "nobody:/etc/passwd", "/tmp/"],
        ["cp", "/etc/passwd", "web:/no/such/folder/"],
    ] {
        let said = lab.boxherd(&args);
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        assert!(said.err.starts_with("error: "), "{said:?}");
    }
}

#[test]
fn a_stopped_box_is_to_be_started_first() {
    let Some(lab) = Lab::open("a_stopped_box_is_to_be_started_first") else { return };
    lab.create("web", &[]);
    lab.boxherd(&["stop", "web"]).ok();
    for args in [["cp", "/etc/hostname", "web:/srv/name"], ["cp", "web:/etc/hostname", "/tmp/"]] {
        let said = lab.boxherd(&args);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("hint: `boxherd start web`"), "{said:?}");
    }
}
