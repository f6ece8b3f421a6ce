//! Boxes that boot from an image instead of the host's files.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::Lab;

/// A root filesystem with a shell, `cat`, `ls` and `rm`, made of the host's own.
const MAKE: &str = r#"
    set -e
    mkdir bin etc tmp proc sys dev run var
    cp /bin/dash bin/sh
    cp /bin/cat /bin/ls /bin/rm bin/
    for library in $(ldd bin/* | grep -o '/lib[^ ]*' | sort -u); do
        mkdir -p ".${library%/*}"
        cp -L "$library" ".$library"
    done
    echo root:x:0:0:root:/:/bin/sh > etc/passwd
    tar -cf ../rootfs.tar .
"#;

fn rootfs(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    std::fs::create_dir(&root).expect("folder");
    let made = Command::new("sh").args(["-c", MAKE]).current_dir(&root).status().expect("sh");
    assert!(made.success());
    folder.join("rootfs.tar")
}

#[test]
fn a_box_boots_from_an_imported_tarball() {
    let Some(lab) = Lab::open("a_box_boots_from_an_imported_tarball") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let tarball = rootfs(folder.path());
    lab.boxherd(&["image", "import", "tiny", &tarball.to_string_lossy()]).ok();
    assert_eq!(lab.boxherd(&["image", "ls", "-o", "name"]).ok(), "tiny\n");

    lab.create("one", &["--image", "tiny"]);
    let sh = |name, line| lab.boxherd(&["exec", name, "--", "sh", "-c", line]);
    assert_eq!(sh("one", "cat /etc/passwd").ok(), "root:x:0:0:root:/:/bin/sh\n");
    sh("one", "echo mine > /etc/mine; rm /etc/passwd").ok();

    // The image is as it was, for others.
    lab.create("two", &["--image", "tiny"]);
    assert_eq!(sh("two", "ls /etc").ok(), "hostname\nhosts\nmachine-id\npasswd\nresolv.conf\n");

    // What was written and removed is there and gone in a copy, and after a restart.
    lab.boxherd(&["fork", "one", "copy"]).ok();
    lab.boxherd(&["restart", "one"]).ok();
    for name in ["copy", "one"] {
        assert_eq!(sh(name, "cat /etc/mine").ok(), "mine\n");
        sh(name, "cat /etc/passwd").refused();
    }
}

#[test]
fn an_image_that_is_not_there_is_refused_with_the_way_to_get_it() {
    let Some(lab) = Lab::open("an_image_that_is_not_there_is_refused") else { return };
    let refused = lab.boxherd(&["create", "one", "--image", "localhost:1/none:1"]);
    refused.refused();
    assert!(refused.err.contains("boxherd image pull localhost:1/none:1"), "{}", refused.err);
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
}
