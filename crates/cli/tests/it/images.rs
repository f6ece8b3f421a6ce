//! Boxes that boot from an image instead of the host's files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Lab, Said};
use crate::rootfs::rootfs;
use crate::wait;

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

/// As those that are built from nothing: no `/dev`, no `/proc`, no place for anything.
#[test]
fn an_image_may_have_one_program_and_nothing_else() {
    let test = "an_image_may_have_one_program_and_nothing_else";
    if !boxherd_testkit::programs_or_skip(test, &["busybox"]) {
        return;
    }
    let Some(lab) = Lab::open(test) else { return };
    let folder = tempfile::tempdir().expect("folder");
    let tarball = folder.path().join("program.tar");
    let mut tar = Command::new("tar");
    let tar = tar.args(["-C", "/bin", "-cf"]).arg(&tarball).arg("busybox").status();
    assert!(tar.expect("tar runs").success());
    lab.boxherd(&["image", "import", "program", &tarball.to_string_lossy()]).ok();
    let look = |isolation: &str| {
        let line = "/busybox ls /; echo $$ > /dev/null; read -r line < /etc/hosts";
        let run = ["run", "--image", "program", "--network", "none", "--isolation", isolation];
        let said = lab.boxherd(&[&run[..], &["--", "/busybox", "sh", "-c", line]].concat()).ok();
        for made in ["dev", "etc", "proc", "run", "sys"] {
            assert!(said.lines().any(|name| name == made), "{isolation}: {said}");
        }
    };
    look("namespaces");
    if boxherd_testkit::programs_or_skip(test, &["runsc"]) {
        look("gvisor");
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

/// The root filesystem as an OCI archive whose configuration says something of everything.
const PACK: &str = r#"
    set -e
    mkdir -p oci/blobs/sha256
    put() { sum=$(sha256sum "$1" | cut -c1-64); size=$(stat -c %s "$1"); mv "$1" "oci/blobs/sha256/$sum"; }
    cp rootfs.tar layer
    put layer; layer=$sum layer_size=$size
    cat > config <<END
{"architecture":"$ARCH","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},
 "config":{"Env":["PATH=/bin","OF=image","BOTH=image"],"WorkingDir":"/var","User":"1234:99",
           "Entrypoint":["/bin/sh","-c"],"Cmd":["echo program of the image in \$PWD"]}}
END
    put config; config=$sum config_size=$size
    cat > manifest <<END
{"schemaVersion":2,
 "config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$config_size},
 "layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:$layer","size":$layer_size}]}
END
    put manifest
    cat > oci/index.json <<END
{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
 "digest":"sha256:$sum","size":$size}]}
END
    echo '{"imageLayoutVersion":"1.0.0"}' > oci/oci-layout
    tar -cf image.tar -C oci .
"#;

pub(crate) fn archive(folder: &Path) -> PathBuf {
    rootfs(folder);
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut pack = Command::new("sh");
    let made = pack.args(["-c", PACK]).current_dir(folder).env("ARCH", arch).status().expect("sh");
    assert!(made.success());
    folder.join("image.tar")
}

#[test]
fn what_an_image_says_of_commands_holds_unless_something_else_is_said() {
    let Some(lab) = Lab::open("what_an_image_says_of_commands_holds") else { return };
    let folder = tempfile::tempdir().expect("folder");
    lab.boxherd(&["image", "import", "app", &archive(folder.path()).to_string_lossy()]).ok();

    // A machine and not a program, which is said.
    let args = ["create", "web", "--image", "app", "--network", "none", "-e", "BOTH=spec"];
    let made = lab.boxherd(&args);
    assert!(made.err.starts_with("note: `app` says to run `/bin/sh -c echo"), "{made:?}");
    made.ok();

    const LINE: &str = r#"echo "$OF $BOTH $PWD"; while read -r key ids; do
        case $key in Uid:|Gid:) echo $ids;; esac; done < /proc/self/status"#;
    let exec = |flags: &[&str]| {
        lab.boxherd(&[&["exec"], flags, &["web", "--", "sh", "-c", LINE]].concat()).ok()
    };
    let ids =
        |uid: &str, gid: &str| [[uid; 4].join(" "), [gid; 4].join(" "), String::new()].join("\n");
    assert_eq!(exec(&[]), format!("image spec /var\n{}", ids("1234", "99")));
    assert_eq!(
        exec(&["-u", "0", "-w", "/etc", "-e", "BOTH=own", "-e", "OF=own"]),
        format!("own own /etc\n{}", ids("0", "0"))
    );

    let run = |command: &[&str]| {
        lab.boxherd(&[&["run", "--image", "app", "--network", "none"], command].concat()).ok()
    };
    assert_eq!(run(&[]), "program of the image in /var\n");
    assert_eq!(run(&["--", "sh", "-c", "echo $OF"]), "image\n", "no arguments of an entrypoint");
}

/// Larger than what any machine unpacks before it is interrupted, and nearly no disk.
pub(crate) fn endless(folder: &Path) -> PathBuf {
    let path = folder.join("endless.tar");
    let file = fs::File::create(&path).expect("create");
    let mut header = tar::Header::new_gnu();
    header.set_path("large").expect("a path");
    header.set_size(32 << 30);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    (&file).write_all(header.as_bytes()).expect("write");
    file.set_len((32 << 30) + 2048).expect("grow");
    path
}

#[test]
fn an_import_that_is_interrupted_leaves_nothing() {
    let Some(lab) = Lab::open("an_import_that_is_interrupted") else { return };
    let folder = tempfile::tempdir().expect("tempdir");
    let file = endless(folder.path());
    let args = ["image", "import", "large", file.to_str().expect("UTF-8")];
    let mut import = lab.command(&args).stderr(Stdio::piped()).spawn().expect("boxherd runs");
    let half_made = lab.data().join("images/tmp");
    let entries = || fs::read_dir(&half_made).map_or(0, Iterator::count);
    wait::until("it unpacks", || {
        let ended = import.try_wait().expect("it can be asked");
        (entries() > 0 || ended.is_some()).then_some(())
    });
    let interrupted = kill_process(Pid::from_child(&import), Signal::INT);
    let said: Said = import.wait_with_output().expect("it ends").into();
    assert_eq!(interrupted, Ok(()), "{said:?}");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.err, "error: interrupted\nhint: nothing of the image was kept\n");
    assert_eq!(entries(), 0);
    assert_eq!(lab.boxherd(&["image", "ls", "-o", "name"]).ok(), "");
}
