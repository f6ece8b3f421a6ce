//! Boxes of the host's own files, while the host changes them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::lab::Lab;
use crate::wait;

/// Puts a file in the place of another as package managers do.
fn install(folder: &Path, name: &str, content: &[u8], mode: u32) {
    let new = folder.join(format!("{name}.dpkg-new"));
    fs::write(&new, content).expect("write");
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("chmod");
    fs::rename(&new, folder.join(name)).expect("rename");
}

#[test]
fn an_upgrade_of_the_host_breaks_nothing_in_a_box_that_runs() {
    let test = "an_upgrade_of_the_host_breaks_nothing";
    let Some(lab) = Lab::open(test) else { return };
    let place = tempfile::Builder::new().prefix("boxherd-test-").tempdir_in("/usr/local/share");
    let Ok(place) = place else {
        boxherd_testkit::skip(test, "the host's /usr cannot be written to");
        return;
    };
    let folder = place.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("chmod");
    let program = folder.join("program").display().to_string();
    install(folder, "program", &fs::read("/bin/sleep").expect("a program"), 0o755);
    install(folder, "dropped", b"old", 0o644);
    install(folder, "secret", b"secret", 0o600);
    lab.create("web", &["--", &program, "1000"]);
    let old = lab.sh("web", &format!("cat {}/dropped", folder.display())).ok();
    assert_eq!(old, "old");

    install(folder, "program", b"#!/bin/sh\necho new\n", 0o755);
    install(folder, "added", b"added", 0o644);
    fs::remove_file(folder.join("dropped")).expect("remove");

    // What runs goes on with what it was started from; what is started now is the new one.
    let running = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; done";
    assert!(lab.sh("web", running).ok().contains(&format!("{program} 1000")));
    assert_eq!(lab.sh("web", &program).ok(), "new\n");
    assert_eq!(lab.sh("web", &format!("cat {}/added", folder.display())).ok(), "added");
    lab.sh("web", &format!("cat {}/dropped", folder.display())).refused();
    // A copy is a start, after which its main program is the new one too.
    lab.boxherd(&["fork", "web", "copy"]).ok();
    wait::until("the copy runs the new one", || {
        (lab.boxherd(&["logs", "copy"]).ok() == "new\n").then_some(())
    });
    // What is not for everybody is not for the box's root.
    lab.sh("web", &format!("cat {}/secret", folder.display())).refused();
    lab.sh("web", &format!("chmod 644 {0}/secret || echo x > {0}/added", folder.display()))
        .refused();
}
