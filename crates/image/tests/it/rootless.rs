//! The store in the hands of an ordinary user.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use boxherd_image::ImageStore;
use boxherd_model::{ImageRef, Silent};
use boxherd_testkit::{programs_or_skip, root_or_skip};

use crate::support::tape::Head;
use crate::support::{Bench, Tape};

/// `nobody`.
const USER: u32 = 65534;

/// What the test below runs as another user.
#[tokio::test]
#[ignore = "a helper of `without_root_everything_is_the_users_and_can_be_removed`"]
async fn helper_that_imports_and_removes() {
    let folder = std::env::var("BOXHERD_TEST_FOLDER").expect("set by the test");
    let folder = Path::new(&folder);
    let store = ImageStore::open(&folder.join("images")).unwrap();
    let name: ImageRef = "app".parse().unwrap();
    store.import(&name, &folder.join("rootfs.tar"), &Silent).await.unwrap();
    let layer = store.resolve(&name).unwrap().unwrap().layers.remove(0);
    for path in ["", "etc", "etc/shadow", "sealed", "bin/su"] {
        assert_eq!(fs::metadata(layer.join(path)).unwrap().uid(), USER, "{path}");
    }
    let mode = |path: &str| fs::metadata(layer.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("sealed"), mode("etc/shadow"), mode("bin/su")), (0o555, 0, 0o4755));
    let note = fs::read_to_string(layer.with_file_name("layer.json")).unwrap();
    assert!(note.contains("2 entries belong to the user instead of their own owner"), "{note}");
    fs::write(folder.join("reached"), "").unwrap();
    assert_eq!(store.remove(&name, &|_| false).unwrap().layers, 1);
}

#[test]
fn without_root_everything_is_the_users_and_can_be_removed() {
    let test = "without_root_everything_is_the_users";
    if !root_or_skip(test) || !programs_or_skip(test, &["setpriv"]) {
        return;
    }
    let bench = Bench::new();
    fs::remove_dir_all(bench.path("images")).unwrap();
    let tar = Tape::new()
        .folder("etc")
        .entry(&Head { mode: 0, owner: (0, 42), ..Head::new(b'0', b"etc/shadow") }, b"")
        .extended(&[("SCHILY.xattr.user.note", b"read-only")])
        .entry(&Head { mode: 0o444, ..Head::new(b'0', b"etc/hosts") }, b"")
        .entry(&Head { mode: 0o555, ..Head::new(b'5', b"sealed") }, b"")
        .entry(&Head { mode: 0o444, owner: (7, 7), ..Head::new(b'0', b"sealed/in") }, b"")
        .entry(&Head { mode: 0o4755, ..Head::new(b'0', b"bin/su") }, b"")
        .file(".wh.gone", b"")
        .end();
    fs::write(bench.path("rootfs.tar"), tar).unwrap();
    // Where the user can read and run it, whatever folder the build has.
    let helper = bench.path("helper");
    fs::copy(std::env::current_exe().unwrap(), &helper).unwrap();
    std::os::unix::fs::chown(bench.folder.path(), Some(USER), Some(USER)).unwrap();
    let user = format!("--reuid={USER}");
    let group = format!("--regid={USER}");
    let ran = Command::new("setpriv")
        .args([&user, &group, "--clear-groups"])
        .arg(&helper)
        .args(["--exact", "--ignored", "rootless::helper_that_imports_and_removes"])
        .env("BOXHERD_TEST_FOLDER", bench.folder.path())
        .current_dir(bench.folder.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert!(bench.path("reached").exists(), "the helper did not run");
    assert!(bench.entries("layers").is_empty());
}
