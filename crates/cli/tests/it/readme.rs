//! The README says only what is so: its console blocks are run, in order, on one data folder.
//!
//! In a block ```` ```console ```` a line `$ …` is a command and the lines after it are what it
//! prints on standard output. A line `...` stands for any lines, and `...` within a line for any
//! text. ```` ```console,ignore ```` is not run.

use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, Said};

/// A command of the README and what it is said to print.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line.trim_end() == "```console";
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { line: number + 1, command: command.to_owned(), expected: vec![] });
        } else if inside && let Some(step) = steps.last_mut() {
            step.expected.push(line.trim_end().to_owned());
        }
    }
    steps
}

/// Whether `line` is `pattern`, where `...` is any text.
fn line_is(line: &str, pattern: &str) -> bool {
    match pattern.split_once("...") {
        None => line == pattern,
        Some((head, tail)) => line.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| line_is(&rest[at..], tail))
        }),
    }
}

/// Whether `lines` are as `expected`, where a line `...` is any lines.
fn lines_are(lines: &[&str], expected: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any == "..." => {
            (0..=lines.len()).any(|skipped| lines_are(&lines[skipped..], rest))
        }
        Some((pattern, rest)) => lines.split_first().is_some_and(|(line, lines)| {
            line_is(line.trim_end(), pattern) && lines_are(lines, rest)
        }),
    }
}

#[test]
fn the_readme_is_true() {
    let Some(lab) = Lab::open("the_readme_is_true") else { return };
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let program = Path::new(env!("CARGO_BIN_EXE_boxherd")).parent().expect("a folder");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", program.display());
    let work = tempfile::tempdir().expect("tempdir");
    let steps = steps(&std::fs::read_to_string(readme).expect("the README"));
    assert!(!steps.is_empty(), "there is something to run");
    for step in steps {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&step.command).current_dir(work.path());
        command.env("PATH", &path).env("BOXHERD_DATA", lab.data());
        let said: Said = command.output().expect("a shell").into();
        assert!(
            lines_are(&said.out.lines().collect::<Vec<_>>(), &step.expected),
            "{step:#?} {said:#?}"
        );
    }
}

#[test]
fn dots_are_anything_and_the_rest_is_itself() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(lines_are(&["a", "b", "c"], &lines("a\n...\nc")));
    assert!(lines_are(&["a 12s b"], &lines("a ... b")));
    assert!(!lines_are(&["a", "b"], &lines("a")));
    assert!(!lines_are(&["a"], &lines("a\nb")));
    assert!(!lines_are(&["x 12s b"], &lines("a ... b")));
}

#[test]
fn only_console_blocks_are_run() {
    let found =
        steps("```console\n$ a\nb\n```\n$ no\n```console,ignore\n$ no\n```\n```sh\n$ no\n```\n");
    assert_eq!(found, [Step { line: 2, command: "a".into(), expected: vec!["b".into()] }]);
}
