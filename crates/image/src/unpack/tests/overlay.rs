//! Layers do what they should under a real overlay, mounted inside a user namespace.

use std::fs;
use std::process::Command;

use boxherd_testkit::{programs_or_skip, skip};

use super::*;

/// What a shell sees in a new user namespace in which `layers`, lowest first, are mounted at `m`.
/// `None`, said aloud, when this machine has no user namespaces for us.
fn seen_in_overlay(test: &str, layers: &[Vec<u8>], script: &str) -> Option<String> {
    if !programs_or_skip(test, &["unshare", "mount"]) {
        return None;
    }
    let yard = tempfile::tempdir().unwrap();
    for (number, stream) in layers.iter().enumerate() {
        let into = yard.path().join(number.to_string());
        fs::create_dir(&into).unwrap();
        unpack(&stream[..], &into, Limits::default(), &AtomicBool::new(false)).unwrap();
    }
    for name in ["m", "up", "work"] {
        fs::create_dir(yard.path().join(name)).unwrap();
    }
    let lower: Vec<String> = (0..layers.len()).rev().map(|number| number.to_string()).collect();
    let mount = format!(
        "mount -t overlay o -o userxattr,lowerdir={},upperdir=up,workdir=work m && cd m && {script}",
        lower.join(":")
    );
    let probe = Command::new("unshare").args(["-Urm", "true"]).output().unwrap();
    if !probe.status.success() {
        skip(test, "user namespaces are not allowed");
        return None;
    }
    let ran = Command::new("unshare")
        .args(["-Urm", "sh", "-ec", &mount])
        .current_dir(yard.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Some(String::from_utf8(ran.stdout).unwrap())
}

#[test]
fn whiteouts_and_opaque_folders_hide_what_is_below() {
    let base = Tape::new()
        .file("gone", b"")
        .file("stays", b"base")
        .folder("opaque")
        .file("opaque/old", b"")
        .folder("merged")
        .file("merged/old", b"")
        .file("merged/gone", b"")
        .folder("renewed")
        .file("renewed/old", b"")
        .folder("redone")
        .file("redone/old", b"")
        .end();
    let above = Tape::new()
        .file(".wh.gone", b"")
        .folder("opaque")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"")
        .file("merged/.wh.gone", b"")
        .file("merged/new", b"")
        // A whiteout is for the layers below, whether it comes before or after what replaces it.
        .file(".wh.renewed", b"")
        .file("renewed/new", b"")
        .folder("redone")
        .file("redone/new", b"")
        .file(".wh.redone", b"")
        .end();
    let seen =
        seen_in_overlay("whiteouts_and_opaque_folders", &[base, above], "find . | sort; cat stays");
    let Some(seen) = seen else { return };
    assert_eq!(
        seen.split_whitespace().collect::<Vec<_>>(),
        [
            ".",
            "./merged",
            "./merged/new",
            "./merged/old",
            "./opaque",
            "./opaque/new",
            "./redone",
            "./redone/new",
            "./renewed",
            "./renewed/new",
            "./stays",
            "base",
        ]
    );
}

#[test]
fn the_box_can_write_over_and_remove_what_layers_have() {
    let base = Tape::new().folder("etc").file("etc/motd", b"old").file("etc/gone", b"").end();
    let script = "echo new > etc/motd; rm etc/gone; mkdir etc/gone; ls etc; cat etc/motd";
    let Some(seen) = seen_in_overlay("the_box_can_write_over", &[base], script) else { return };
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["gone", "motd", "new"]);
}
