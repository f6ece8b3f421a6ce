//! Commands in boxes: their streams and their codes.

use std::io::Write as _;
use std::process::Stdio;

use crate::lab::{Lab, Said};
use crate::wait;

/// Runs `boxherd` with `input` as its standard input.
pub(crate) fn fed(lab: &Lab, args: &[&str], input: &[u8]) -> Said {
    let mut command = lab.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("boxherd runs");
    // One that is refused reads nothing.
    drop(child.stdin.take().expect("piped").write_all(input));
    child.wait_with_output().expect("it ends").into()
}

#[test]
fn exec_exits_as_the_command_did() {
    let Some(lab) = Lab::open("exec_exits_as_the_command_did") else { return };
    lab.create("web", &[]);
    for (line, code) in [("true", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
    {
        assert_eq!(lab.sh("web", line).code, Some(code), "{line}");
    }
    let code = |args: &[&str]| lab.boxherd(&[&["exec"], args].concat()).code;
    assert_eq!(code(&["web", "--", "/etc/passwd"]), Some(126));
    assert_eq!(code(&["web", "--", "no-such-program"]), Some(127));
    assert_eq!(code(&["--timeout", "200ms", "web", "--", "sleep", "1000"]), Some(124));
}

#[test]
fn run_exits_as_the_command_did_and_leaves_no_box() {
    let Some(lab) = Lab::open("run_exits_as_the_command_did") else { return };
    let run = |args: &[&str]| lab.boxherd(&[&["run", "--network", "none"], args].concat());
    assert_eq!(run(&["echo", "hi"]).ok(), "hi\n");
    assert_eq!(run(&["sh", "-c", "exit 7"]).code, Some(7));
    assert_eq!(run(&["no-such-program"]).code, Some(127));
    assert_eq!(run(&["/etc/passwd"]).code, Some(126));
    assert_eq!(run(&["--timeout", "200ms", "sleep", "1000"]).code, Some(124));
    assert_eq!(run(&["--image", "nowhere.invalid/x:1", "true"]).code, Some(125));
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
    run(&["--keep", "--name", "kept", "true"]).ok();
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "kept\n");
}

#[test]
fn streams_are_kept_apart_and_input_goes_in() {
    let Some(lab) = Lab::open("streams_are_kept_apart") else { return };
    lab.create("web", &[]);
    let said = lab.sh("web", "echo out; echo err >&2");
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
    let megabyte = vec![b'x'; 1 << 20];
    assert_eq!(fed(&lab, &["exec", "web", "--", "wc", "-c"], &megabyte).ok().trim(), "1048576");
    let run = ["run", "--network", "none", "--", "cat"];
    assert_eq!(fed(&lab, &run, b"three words here").ok(), "three words here");
}

#[test]
fn a_command_gets_its_variables_its_folder_and_its_user() {
    let Some(lab) = Lab::open("a_command_gets_its_variables") else { return };
    lab.create("web", &["-e", "FROM_BOX=1"]);
    let args = ["exec", "-e", "OWN=2", "-w", "/srv", "-u", "nobody", "web", "--"];
    let line = "echo $FROM_BOX $OWN $PWD $(id -un)";
    let said = lab.boxherd(&[&args[..], &["sh", "-c", line]].concat());
    assert_eq!(said.ok(), "1 2 /srv nobody\n");
}

#[test]
fn a_box_whose_maker_was_killed_is_collected_by_the_next_command() {
    let Some(lab) = Lab::open("a_box_whose_maker_was_killed") else { return };
    let mut maker = lab
        .command(&["run", "--network", "none", "--name", "lost", "--", "sleep", "1000"])
        .spawn()
        .expect("boxherd runs");
    wait::until("the box runs", || {
        (lab.boxherd(&["ls", "-q"]).ok() == "lost\n" && lab.state("lost").starts_with("running"))
            .then_some(())
    });
    maker.kill().expect("it runs");
    maker.wait().expect("it ends");
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
}

#[test]
fn top_shows_who_is_busy_first() {
    let Some(lab) = Lab::open("commands::top_shows_who_is_busy_first") else { return };
    lab.create("idle", &[]);
    lab.create("busy", &["--", "sh", "-c", "while :; do :; done"]);
    let top = ["top", "--interval", "300ms", "-o", "json"];
    // The processor is shared with whoever else runs.
    let rows = crate::wait::until("the busy box is", || {
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(&lab.boxherd(&top).ok()).expect("JSON");
        (rows[0]["cpu_percent"].as_f64()? > 5.0).then_some(rows)
    });
    assert_eq!((&rows[0]["name"], &rows[1]["name"]), (&"busy".into(), &"idle".into()));
    assert!(rows[1]["memory_bytes"].as_u64() > Some(0), "{rows:?}");
    let table = lab.boxherd(&["top", "--once", "--interval", "10ms"]).ok();
    assert!(table.starts_with("NAME  ENGINE  STATE"), "{table}");
}
