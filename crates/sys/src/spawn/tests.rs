use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};

use super::*;

fn c(list: &[&str]) -> Vec<CString> {
    list.iter().map(|s| CString::new(*s).unwrap()).collect()
}

struct Ran {
    code: Option<i32>,
    output: String,
}

fn run(
    change: impl FnOnce(&mut Spawn<'_>),
    programs: &[&str],
    argv: &[&str],
) -> Result<Ran, SpawnError> {
    let null = File::open("/dev/null").unwrap();
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (programs, argv, env) = (c(programs), c(argv), c(&["A=b"]));
    let mut request = Spawn {
        programs: &programs,
        argv: &argv,
        env: &env,
        workdir: None,
        stdio: [null.as_fd(), writer.as_fd(), writer.as_fd()],
        credentials: None,
        terminal: false,
    };
    change(&mut request);
    let child = spawn(&request)?;
    drop(writer);
    let mut output = String::new();
    File::from(reader).read_to_string(&mut output).unwrap();
    let (_, status) = waitpid(Some(child.pid), WaitOptions::empty()).unwrap().unwrap();
    Ok(Ran { code: status.exit_status(), output })
}

fn shell(line: &str) -> Ran {
    run(|_| {}, &["/bin/sh"], &["sh", "-c", line]).unwrap()
}

#[test]
fn a_program_runs_with_its_arguments_and_environment() {
    let ran = shell("echo $A $0; exit 7");
    assert_eq!((ran.code, ran.output.as_str()), (Some(7), "b sh\n"));
}

#[test]
fn it_leads_a_session_of_its_own() {
    let ran =
        shell("read -r pid comm state ppid pgrp sid rest < /proc/$$/stat; echo $pid $pgrp $sid");
    let ids: Vec<_> = ran.output.split_whitespace().collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{}", ran.output);
}

#[test]
fn it_inherits_nothing_but_its_three_descriptors() {
    let null = File::open("/dev/null").unwrap();
    let leaky = rustix::io::fcntl_dupfd_cloexec(&null, 100).unwrap();
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).unwrap();
    // The shell's own glob holds a descriptor on the directory while it lists.
    let ran = shell("for fd in /proc/self/fd/*; do echo ${fd##*/}; done");
    let fds: Vec<i32> = ran.output.lines().map(|l| l.parse().unwrap()).collect();
    assert!(!fds.contains(&leaky.as_raw_fd()), "{fds:?}");
    assert!(fds.len() <= 4, "{fds:?}");
}

#[test]
fn signals_are_handled_by_default_again() {
    // Rust ignores SIGPIPE; the program must not.
    let ran = shell("grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status");
    let masks: Vec<_> = ran.output.lines().map(|l| l.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(masks[..2], ["0000000000000000"; 2], "{}", ran.output);
}

#[test]
fn candidates_are_tried_in_order() {
    let ran = run(|_| {}, &["/nowhere/sh", "/etc/passwd/sh", "/bin/sh"], &["sh", "-c", "exit 3"]);
    assert_eq!(ran.unwrap().code, Some(3));
}

#[test]
fn what_cannot_be_executed_says_why() {
    let missing = run(|_| {}, &["/nowhere/x"], &["x"]).err().unwrap();
    assert_eq!((missing.step, missing.source.raw_os_error()), (Step::Exec, Some(libc::ENOENT)));
    let data = run(|_| {}, &["/nowhere/x", "/etc/passwd"], &["x"]).err().unwrap();
    assert_eq!((data.step, data.source.raw_os_error()), (Step::Exec, Some(libc::EACCES)));
    let lost = run(|s| s.workdir = Some(c"/nowhere"), &["/bin/sh"], &["sh"]);
    assert_eq!(lost.err().unwrap().step, Step::Workdir);
}

#[test]
fn it_becomes_the_user_with_exactly_its_groups() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let credentials = Credentials { uid: 12345, gid: 23456, groups: Some(&[34567]) };
    let line = ["sh", "-c", "id -u; id -g; id -G"];
    let ran = run(|s| s.credentials = Some(credentials), &["/bin/sh"], &line).unwrap();
    assert_eq!(ran.output, "12345\n23456\n23456 34567\n");
}
