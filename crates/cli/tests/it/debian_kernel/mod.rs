//! Boxes on the kernel that Debian 12 comes with, and on control groups v2 with all of their controllers:
//! neither is this machine's. Debian builds that kernel as a program, too (user-mode Linux).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use boxherd_testkit::{programs_or_skip, root_or_skip, skip};

/// How long it may take, in seconds: every system call of it is two of this machine's.
const PATIENCE: &str = "200";

#[test]
fn boxes_and_their_limits_hold_on_linux_6_1() {
    let test = "boxes_and_their_limits_hold_on_linux_6_1";
    if !root_or_skip(test) || !programs_or_skip(test, &["linux.uml", "insmod", "mkfs.ext4"]) {
        return;
    }
    let Some(said) = run(test, include_str!("job.sh")) else { return };
    let said: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("said: ")).collect();
    let expected = [
        "kernel 6.1",
        "controllers cpu io memory pids",
        "run hello from uid 0, pid 2 0::/",
        "limits 25000 100000 40 67108864",
        "suspended 0 1 1",
        "resumed 0 0 again",
        "forks sh: 0: Cannot fork, refused 1",
        "throttled yes",
        "memory 125 stopped (oom)",
        "neighbour goes on",
        "disk Disk quota exceeded",
        "copy has it",
        "attached kept",
        "left 0 0",
    ];
    assert_eq!(said, expected);
}

/// What a machine of user-mode Linux says that runs `job`; `None` where none comes up.
fn run(test: &str, job: &str) -> Option<String> {
    // Not below `/tmp`: the machine has one of its own.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let file = |name: &str| folder.path().join(name);
    fs::write(file("init.sh"), include_str!("init.sh")).expect("a script");
    fs::write(file("job.sh"), job).expect("a script");
    let disk = fs::File::create(file("disk")).expect("a disk");
    disk.set_len(3 << 30).expect("a sparse file");
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(file("disk")).status();
    assert!(made.expect("mkfs.ext4 runs").success());
    let machine = Command::new("timeout")
        .args(["--kill-after=5", PATIENCE, "linux.uml", "mem=1G", "quiet", "con=null"])
        .args(["con0=null,fd:1", "ssl=null", "root=/dev/root", "rootfstype=hostfs", "rootflags=/"])
        .arg(assigned("ubd0", &file("disk")))
        .arg(assigned("uml_dir", folder.path()))
        .args(["ro", "init=/bin/sh"])
        .arg(assigned("BOXHERD", Path::new(env!("CARGO_BIN_EXE_boxherd"))))
        .arg(assigned("JOB", &file("job.sh")))
        .args(["--".as_ref(), file("init.sh").as_os_str()])
        .stdin(Stdio::null())
        .output()
        .expect("timeout runs");
    let said = String::from_utf8_lossy(&machine.stdout).replace('\r', "");
    println!("{said}\n{}", String::from_utf8_lossy(&machine.stderr));
    if !said.contains("BOOTED") {
        skip(test, "user-mode Linux does not come up here");
        return None;
    }
    assert!(said.contains("DONE"), "it did not come to an end");
    Some(said)
}

fn assigned(name: &str, path: &Path) -> String {
    format!("{name}={}", path.to_str().expect("a path in UTF-8"))
}
