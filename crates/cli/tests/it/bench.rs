//! A measurement that is broken off.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::Lab;
use crate::wait;

#[test]
fn a_bench_that_is_interrupted_removes_its_boxes() {
    let Some(lab) = Lab::open("a_bench_that_is_interrupted") else { return };
    lab.create("mine", &[]);
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = lab.command(&["bench", "create", "--rounds", "100000", "--no-peers"]);
        let bench = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        wait::until("it makes boxes", || {
            lab.boxherd(&["ls", "-q"]).ok().contains("bench-").then_some(())
        });
        kill_process(Pid::from_child(&bench), signal).expect("it runs");
        let said = bench.wait_with_output().expect("it ends");
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!(err, "error: interrupted while it measured\n");
        assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "mine\n");
        assert!(!lab.data().join("bench").exists());
    }
}
