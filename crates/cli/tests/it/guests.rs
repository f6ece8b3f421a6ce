//! Machines of an LXD server that are not as one would wish: what the agent needs is not there.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Instant;

use crate::commands::fed;
use crate::engines::{Lxd, name};
use crate::lab::Said;

/// An instance that somebody else made, of Debian.
struct Guest {
    lxd: Lxd,
    name: String,
}

impl Guest {
    fn launch(test: &str, what: &str) -> Option<Self> {
        let lxd = Lxd::open(test)?;
        lxd.add("lab", &[]).ok();
        let name = name(what);
        lxd.lxc(&["launch", "-q", "deb12", &name, "-s", "bt"]);
        Some(Self { lxd, name })
    }

    fn at(&self) -> String {
        format!("lab:{}", self.name)
    }

    /// Runs a line in it without Boxherd.
    fn sh(&self, line: &str) -> String {
        self.lxd.lxc(&["exec", &self.name, "--", "sh", "-c", line])
    }

    fn exec(&self, args: &[&str]) -> Said {
        self.lxd.lab.boxherd(&[&["exec", &self.at()], args].concat())
    }

    /// Gives it back, and looks for what is left at the server.
    fn delete(self) {
        self.lxd.lab.boxherd(&["rm", "--force", &self.at()]).ok();
        let logs = self.lxd.lxc(&["query", &format!("/1.0/instances/{}/logs", self.name)]);
        assert!(!logs.contains("exec_"), "{logs}");
        self.lxd.lxc(&["delete", "--force", &self.name]);
    }
}

/// No folder lets programs run.
pub(crate) const NO_PROGRAMS: &str = "for folder in /run /dev/shm /var/lib/boxherd; do
        mkdir -p $folder && mount -t tmpfs -o noexec,size=9m none $folder || exit 1
    done";

/// Where no folder lets programs run, as in images that are made for one program.
#[test]
fn where_the_agent_does_not_run_the_server_stands_in_for_it() {
    let test = "where_the_agent_does_not_run_the_server_stands_in_for_it";
    let Some(guest) = Guest::launch(test, "native") else { return };
    guest.sh(NO_PROGRAMS);
    let (at, lab) = (guest.at(), &guest.lxd.lab);
    let of = |args: &[&str]| guest.exec(args);
    let said = of(&["--", "sh", "-c", "echo out; echo err >&2; pwd; exit 7"]);
    assert_eq!((said.code, said.out.as_str()), (Some(7), "out\n/root\n"), "{said:?}");
    assert_eq!(said.err, "err\n");
    let said = of(&[
        "-u",
        "daemon:games",
        "-e",
        "A=b c",
        "-w",
        "/tmp",
        "--",
        "sh",
        "-c",
        "id -u; id -g; echo $A $HOME; pwd",
    ]);
    assert_eq!(said.ok(), "1\n60\nb c /usr/sbin\n/tmp\n");
    let input = vec![0x5a; 3 << 20];
    let counted = fed(lab, &["exec", &at, "--", "wc", "-c"], &input);
    assert_eq!(counted.ok().trim(), "3145728");
    for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126)] {
        let said = of(&["--", program]);
        assert_eq!(said.code, Some(code), "{said:?}");
    }
    assert_eq!(of(&["--", "sh", "-c", "kill -9 $$"]).code, Some(137));
    let late = of(&["--timeout", "1s", "--", "sleep", "98765"]);
    assert_eq!(late.code, Some(124), "{late:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, &input).expect("a file");
    let (near, far) = (file.to_str().expect("text"), format!("{at}:/srv/file"));
    lab.boxherd(&["cp", near, &far]).ok();
    let back = folder.path().join("back");
    lab.boxherd(&["cp", &far, back.to_str().expect("text")]).ok();
    assert_eq!(fs::read(&back).expect("a file"), input);
    assert_eq!(of(&["--", "ls", "/srv"]).ok(), "file\n", "nothing is left beside it");
    let shown = lab.boxherd(&["show", &at]).ok();
    assert!(shown.contains("since no agent runs") && shown.contains("/dev/shm"), "{shown}");
    // Started anew it has an agent.
    lab.boxherd(&["restart", &at]).ok();
    of(&["--", "true"]).ok();
    assert!(!lab.boxherd(&["show", &at]).ok().contains("no agent"));
    guest.delete();
}

#[test]
fn the_agent_goes_where_it_may_run() {
    let test = "the_agent_goes_where_it_may_run";
    let Some(guest) = Guest::launch(test, "noexec") else { return };
    guest.sh("mount -t tmpfs -o noexec none /run && mkdir -p /dev/shm");
    assert_eq!(guest.exec(&["hostname"]).ok(), format!("{}\n", guest.name));
    assert!(guest.sh("ls /dev/shm/boxherd").contains("agent-"));
    guest.delete();
}

/// What was said to an agent that turns out not to be there has not been heard by anybody.
#[test]
fn what_is_said_before_the_agent_is_there_is_heard_once() {
    let test = "what_is_said_before_the_agent_is_there_is_heard_once";
    let Some(guest) = Guest::launch(test, "early") else { return };
    guest.exec(&["--", "true"]).ok();
    let gone = || {
        guest.sh("for process in /proc/[0-9]*; do
                grep -qs '^/proc/self/exe.guest' $process/cmdline && kill -9 ${process#/proc/}
            done; rm -rf /run/boxherd")
    };
    let input: Vec<u8> = (0..3_u32 << 18).flat_map(u32::to_le_bytes).collect();
    gone();
    let counted = fed(&guest.lxd.lab, &["exec", &guest.at(), "--", "wc", "-c"], &input);
    assert_eq!(counted.ok().trim(), input.len().to_string());
    gone();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, back) = (folder.path().join("file"), folder.path().join("back"));
    fs::write(&file, &input).expect("a file");
    let at = format!("{}:/srv/put", guest.at());
    guest.lxd.lab.boxherd(&["cp", file.to_str().expect("text"), &at]).ok();
    gone();
    guest.lxd.lab.boxherd(&["cp", &at, back.to_str().expect("text")]).ok();
    assert!(fs::read(&back).expect("a file") == input);
    gone();
    guest.exec(&["--", "sh", "-c", "echo once >> /srv/times"]).ok();
    assert_eq!(guest.sh("cat /srv/times"), "once\n");
    guest.delete();
}

#[test]
fn a_root_that_is_read_only_does_not_matter() {
    let test = "a_root_that_is_read_only_does_not_matter";
    let Some(guest) = Guest::launch(test, "read-only") else { return };
    guest.sh("mount -t tmpfs none /run && mount -o remount,bind,ro / && ! touch /file");
    let said = guest.exec(&["sh", "-c", "touch /file; echo $?"]);
    assert_eq!(said.out, "1\n", "{said:?}");
    guest.delete();
}

#[test]
fn where_there_is_no_room_for_the_agent_commands_run_all_the_same() {
    let test = "where_there_is_no_room_for_the_agent_commands_run_all_the_same";
    let Some(guest) = Guest::launch(test, "full") else { return };
    guest.sh("for folder in /run /dev/shm /var/lib/boxherd; do
            mkdir -p $folder && mount -t tmpfs -o size=100k none $folder || exit 1
        done");
    assert_eq!(guest.exec(&["echo", "here"]).ok(), "here\n");
    // That can change at any time, so that nothing is remembered.
    guest.sh("mount -o remount,size=9m /run");
    assert_eq!(guest.exec(&["echo", "here"]).ok(), "here\n");
    assert!(guest.sh("ls /run/boxherd").contains("agent-"));
    guest.delete();
}

#[test]
fn neither_a_shell_nor_tar_is_needed() {
    let test = "neither_a_shell_nor_tar_is_needed";
    let Some(guest) = Guest::launch(test, "bare") else { return };
    guest.sh("rm /bin/tar /bin/gzip /bin/dash; rm /bin/sh");
    assert_eq!(guest.exec(&["hostname"]).ok(), format!("{}\n", guest.name));
    assert_eq!(guest.exec(&["sh", "-c", "true"]).code, Some(127));
    guest.delete();
}

#[test]
fn many_who_come_first_find_one_agent() {
    let test = "many_who_come_first_find_one_agent";
    let Some(guest) = Guest::launch(test, "many") else { return };
    // Adopted once, so that they do not wait for each other there.
    guest.lxd.lab.boxherd(&["show", &guest.at()]).ok();
    let at = guest.at();
    let spawn = |_| {
        let mut command = guest.lxd.lab.command(&["exec", &at, "--", "sh", "-c", "echo $PPID"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("boxherd runs")
    };
    let all: Vec<_> = (0..8).map(spawn).collect();
    let mut parents: Vec<_> = all
        .into_iter()
        .map(|child| Said::from(child.wait_with_output().expect("it ends")).ok())
        .collect();
    parents.sort();
    parents.dedup();
    assert_eq!(parents.len(), 1, "{parents:?}");
    guest.delete();
}

#[test]
fn names_may_be_as_long_as_they_may_be() {
    let test = "names_may_be_as_long_as_they_may_be";
    let Some(lxd) = Lxd::open(test) else { return };
    lxd.add("lab", &[]).ok();
    let lab = &lxd.lab;
    let long = format!("{:x<63}", name("long"));
    let at = format!("lab:{long}");
    lab.boxherd(&["create", &at]).ok();
    assert_eq!(lxd.lab.boxherd(&["exec", &at, "hostname"]).ok(), format!("{long}\n"));
    let longer = lab.boxherd(&["create", &format!("{at}x")]);
    assert!(longer.err.contains("63"), "{longer:?}");
    let digit = lab.boxherd(&["create", "lab:1st"]);
    assert!(digit.err.contains("begins with a digit"), "{digit:?}");
    lab.boxherd(&["rm", "--force", &at]).ok();
}

#[test]
fn output_is_passed_on_and_not_gathered() {
    let test = "output_is_passed_on_and_not_gathered";
    let Some(guest) = Guest::launch(test, "much") else { return };
    is_passed_on(&guest, "the link");
    guest.delete();
}

#[test]
fn output_is_passed_on_where_the_server_stands_in_for_the_agent() {
    let test = "output_is_passed_on_where_the_server_stands_in_for_the_agent";
    let Some(guest) = Guest::launch(test, "much-native") else { return };
    guest.sh(NO_PROGRAMS);
    guest.exec(&["true"]).ok();
    assert!(guest.lxd.lab.boxherd(&["show", &guest.at()]).ok().contains("since no agent runs"));
    is_passed_on(&guest, "the server");
    guest.delete();
}

/// How many GiB of output; one without it, which takes seconds.
const OUTPUT_GIB: &str = "BOXHERD_OUTPUT_GIB";

/// A command says much, and the program on its way needs little memory for it.
fn is_passed_on(guest: &Guest, by: &str) {
    const MIB: u64 = 1 << 20;
    let gib = std::env::var(OUTPUT_GIB).map_or(1, |text| text.parse().expect("a number"));
    let (at, all) = (guest.at(), gib * 1024 * MIB);
    let size = format!("{gib}G");
    let much = ["exec", at.as_str(), "--", "head", "-c", &size, "/dev/zero"];
    let since = Instant::now();
    let mut command = guest.lxd.lab.command(&much);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("boxherd runs");
    let mut output = child.stdout.take().expect("a pipe");
    let mut last = output.by_ref().take(all - MIB);
    let count = std::io::copy(&mut last, &mut std::io::sink()).expect("it is read");
    // The pipe does not hold what is left, so that it runs.
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it is there");
    let rest = std::io::copy(&mut output, &mut std::io::sink()).expect("it is read");
    assert!(child.wait().expect("it ends").success());
    assert_eq!((count, rest), (all - MIB, MIB));
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak.expect("Linux").trim().trim_end_matches(" kB").parse().expect("a number");
    println!("{gib} GiB by {by} in {:?}, {kib} KiB of memory", since.elapsed());
    assert!(kib < 128 * 1024, "{kib} KiB");
}

/// The kernel ends one process; the machine has an init of its own and goes on.
#[test]
fn out_of_memory_one_process_ends_and_the_machine_goes_on() {
    let test = "out_of_memory_one_process_ends_and_the_machine_goes_on";
    let Some(lxd) = Lxd::open(test) else { return };
    lxd.add("lab", &[]).ok();
    let at = format!("lab:{}", name("oom"));
    lxd.lab.boxherd(&["create", &at, "--image", "deb12", "--memory", "128MiB"]).ok();
    let of = |args: &[&str]| lxd.lab.boxherd(&[&["exec", &at, "--"], args].concat());
    of(&["sh", "-c", "sleep 98765 >/dev/null 2>&1 & echo $! > /root/pid"]).ok();
    // It looks for a line, and keeps all that is none.
    let killed = of(&["sh", "-c", "echo begun; exec tail /dev/zero"]);
    assert_eq!((killed.code, killed.out.as_str()), (Some(137), "begun\n"), "{killed:?}");
    assert_eq!(lxd.lab.state(&at), "running null");
    assert_eq!(of(&["sh", "-c", "kill -0 $(cat /root/pid) && echo alive"]).ok(), "alive\n");
    // Where that process is what the box is there for, it has ended.
    let only = format!("lab:{}", name("oom-cmd"));
    let ask =
        ["create", &only, "--image", "deb12", "--memory", "128MiB", "--", "tail", "/dev/zero"];
    lxd.lab.boxherd(&ask).ok();
    crate::wait::until("it has ended", || {
        (lxd.lab.state(&only) == "stopped {exited:{code:137}}").then_some(())
    });
    lxd.lab.boxherd(&["rm", "--force", &at, &only]).ok();
}
