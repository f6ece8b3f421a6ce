//! A small image, made of the host's own programs.

use std::path::{Path, PathBuf};
use std::process::Command;

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

pub(crate) fn rootfs(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    std::fs::create_dir(&root).expect("folder");
    let made = Command::new("sh").args(["-c", MAKE]).current_dir(&root).status().expect("sh");
    assert!(made.success());
    folder.join("rootfs.tar")
}
