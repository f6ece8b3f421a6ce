//! Boxes at a terminal, which is tmux's.

use std::process::Command;

use tempfile::TempDir;

use crate::images;
use crate::lab::Lab;
use crate::wait;

/// A terminal with a shell in it, and the lab's boxes at hand as `boxherd`.
struct Terminal {
    folder: TempDir,
}

impl Terminal {
    fn open(lab: &Lab) -> Self {
        let terminal = Self { folder: tempfile::tempdir().expect("tempdir") };
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_boxherd"));
        let folder = program.parent().expect("a folder").to_str().expect("UTF-8");
        let path = format!("PATH={folder}:/usr/sbin:/usr/bin:/sbin:/bin");
        let data = format!("BOXHERD_DATA={}", lab.data().display());
        let size = ["-x", "90", "-y", "30"];
        let shell = ["env", &path, &data, "PS1=% ", "ENV=", "TERM=screen", "sh"];
        terminal.tmux(&[&["-f", "/dev/null", "new-session", "-d"], &size[..], &shell].concat());
        terminal.sees("%");
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let socket = self.folder.path().join("tmux");
        let done = Command::new("tmux").arg("-S").arg(socket).args(args).output().expect("tmux");
        assert!(done.status.success(), "{args:?}: {done:?}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn type_line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.key("Enter");
    }

    fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until a line is `text`.
    fn sees(&self, text: &str) {
        self.sees_line(text, |line| line == text);
    }

    /// Waits until a line ends with `text`.
    fn sees_end(&self, text: &str) {
        self.sees_line(text, |line| line.ends_with(text));
    }

    fn sees_line(&self, what: &str, is: impl Fn(&str) -> bool) {
        wait::until(what, || {
            let screen = self.tmux(&["capture-pane", "-p"]);
            screen.lines().any(|line| is(line.trim_end())).then_some(())
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let server = self.tmux(&["display-message", "-p", "#{pid}"]);
        self.tmux(&["kill-server"]);
        let arguments = format!("/proc/{}/cmdline", server.trim());
        wait::until("tmux ends", || {
            std::fs::read(&arguments).unwrap_or_default().is_empty().then_some(())
        });
    }
}

/// A lab and a terminal; `None` when the test cannot run here.
fn open(test: &str) -> Option<(Lab, Terminal)> {
    let lab = Lab::open(test)?;
    boxherd_testkit::programs_or_skip(test, &["tmux"]).then(|| {
        let terminal = Terminal::open(&lab);
        (lab, terminal)
    })
}

#[test]
fn a_command_has_the_size_of_the_terminal_and_follows_it() {
    const LINE: &str = "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done";
    let Some((lab, terminal)) = open("a_command_has_the_size") else { return };
    lab.create("web", &[]);
    terminal.type_line(&format!("boxherd exec -it web -- sh -c \"{LINE}\"; echo code=$?"));
    terminal.sees("30 90");
    terminal.tmux(&["resize-window", "-x", "70", "-y", "20"]);
    terminal.sees("20 70");
    terminal.key("C-c");
    terminal.sees_end("code=130");
}

#[test]
fn keys_reach_the_command_and_the_terminal_is_as_before() {
    const LINE: &str = "trap 'echo interrupted' INT; echo ready; cat; cat; exit 7";
    let Some((lab, terminal)) = open("keys_reach_the_command") else { return };
    let run = format!("boxherd run -it --network none -- sh -c \"{LINE}\"; echo code=$?");
    terminal.type_line(&format!(
        "before=$(stty -g); {run}; test $before = $(stty -g) && echo 'as 'before"
    ));
    terminal.sees("ready");
    terminal.key("C-c");
    terminal.sees_end("interrupted");
    terminal.key("C-d");
    terminal.sees_end("code=7");
    terminal.sees("as before");
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
}

#[test]
fn a_shell_ends_with_its_own_code() {
    let Some((lab, terminal)) = open("a_shell_ends_with_its_own_code") else { return };
    lab.create("web", &[]);
    terminal.type_line("boxherd shell web; echo code=$?");
    // A prompt that says where one is.
    terminal.sees("root@web:~#");
    terminal.type_line("echo $(hostname)-$((1 + 1))");
    terminal.sees("web-2");
    terminal.type_line("exit 9");
    terminal.sees_end("code=9");
    terminal.type_line("clear; boxherd shell web; echo code=$?");
    terminal.sees_end("#");
    terminal.key("C-d");
    terminal.sees_end("code=0");
}

#[test]
fn an_archive_is_not_written_to_the_terminal() {
    let Some((lab, terminal)) = open("an_archive_is_not_written") else { return };
    lab.create("web", &[]);
    terminal.type_line("boxherd cp web:/etc -; echo code=$?");
    terminal.sees("error: an archive is nothing for a terminal");
    terminal.sees_end("code=1");
}

#[test]
fn progress_is_seen_and_can_be_interrupted() {
    let Some((_lab, terminal)) = open("progress_is_seen") else { return };
    let file = images::endless(terminal.folder.path());
    terminal.type_line(&format!("clear; boxherd image import x {}; echo code=$?", file.display()));
    terminal.sees_line("a bar", |line| line.starts_with("endless.tar") && line.contains("GiB"));
    terminal.key("C-c");
    terminal.sees("error: interrupted");
    terminal.sees("code=1");
}
