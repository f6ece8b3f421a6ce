//! `boxherd --server`.

use std::io::Write as _;
use std::process::Stdio;

use crate::lab::Said;
use crate::server::{KEY, Server};

#[test]
fn commands_work_as_they_do_here() {
    let Some(server) = Server::open("commands_work_as_they_do_here") else { return };
    assert_eq!(server.boxherd(&["create", "web", "-l", "a=b"]).ok(), "web\n");
    // The first user is the host's: without its own boxes, both see the same.
    for format in ["table", "json", "yaml", "name"] {
        for command in [&["ls"][..], &["show", "web"]] {
            let ask = [command, &["-o", format]].concat();
            let (here, there) = (server.lab.boxherd(&ask).ok(), server.boxherd(&ask).ok());
            assert_eq!(steady(&there), steady(&here), "{ask:?}");
        }
    }
    let said = server.boxherd(&[
        "exec",
        "-e",
        "A=1 2",
        "-w",
        "/etc",
        "web",
        "sh",
        "-c",
        "echo $A $PWD; exit 5",
    ]);
    assert_eq!((said.code, said.out.as_str()), (Some(5), "1 2 /etc\n"), "{said:?}");
    let late = server.boxherd(&["exec", "--timeout", "1s", "web", "sleep", "98765"]);
    assert_eq!(late.code, Some(124), "{late:?}");
    assert_eq!(server.boxherd(&["run", "--", "sh", "-c", "echo hi; exit 3"]).code, Some(3));
    assert_eq!(server.boxherd(&["fork", "web", "copy"]).ok(), "copy\n");
    server.boxherd(&["rename", "copy", "second"]).ok();
    server.boxherd(&["stop", "web", "second"]).ok();
    server.boxherd(&["start", "web"]).ok();
    server.boxherd(&["suspend", "web"]).ok();
    server.boxherd(&["resume", "web"]).ok();
    server.boxherd(&["restart", "web"]).ok();
    server.boxherd(&["logs", "web"]).ok();
    assert_eq!(server.boxherd(&["ls", "-o", "name"]).ok(), "second\nweb\n");
    let runs = server.boxherd(&["rm", "web"]);
    assert!(runs.err.contains("rm --force"), "{runs:?}");
    server.boxherd(&["rm", "--force", "web", "second"]).ok();
    assert_eq!(server.boxherd(&["ls", "-o", "name"]).ok(), "");
}

/// Without what changes from one look to the next.
fn steady(text: &str) -> String {
    let changes = ["memory", "cpu_micros", "pids", "disk", "processor time", "processes", "web "];
    let changes = |line: &&str| {
        !changes.iter().any(|word| line.trim().trim_start_matches('"').starts_with(word))
    };
    text.lines().filter(changes).collect::<Vec<_>>().join("\n")
}

#[test]
fn input_goes_to_a_command() {
    let Some(server) = Server::open("input_goes_to_a_command") else { return };
    server.boxherd(&["create", "web"]).ok();
    let mut child = server
        .command(&["exec", "web", "--", "sort"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("boxherd runs");
    child.stdin.take().expect("a pipe").write_all(b"b\na\n").expect("it reads");
    let said: Said = child.wait_with_output().expect("it ends").into();
    assert_eq!(said.ok(), "a\nb\n");
    server.boxherd(&["rm", "--force", "web"]).ok();
}

#[test]
fn what_a_server_is_not_asked_for_is_refused() {
    let Some(server) = Server::open("what_a_server_is_not_asked_for_is_refused") else { return };
    for (command, name) in
        [(&["doctor"][..], "doctor"), (&["image", "ls"], "image"), (&["user", "ls"], "user")]
    {
        let said = server.boxherd(command);
        said.refused();
        assert!(said.err.contains(&format!("`{name}` cannot be asked of a server")), "{said:?}");
        assert!(said.err.contains("hint: "), "{said:?}");
    }
    let said = server.boxherd(&["run", "--nesting", "true"]);
    assert!(said.err.contains("`--nesting`"), "{said:?}");
    let gone = server.boxherd(&["show", "nobody", "-o", "json"]);
    assert!(gone.err.contains("no-such-box"), "{gone:?}");
}

#[test]
fn the_key_is_in_the_environment_or_in_a_file() {
    let Some(server) = Server::open("the_key_is_in_the_environment_or_in_a_file") else { return };
    let none: Said =
        server.command(&["ls"]).env_remove("BOXHERD_API_KEY").output().expect("runs").into();
    assert!(none.err.contains("--api-key-file"), "{none:?}");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "{KEY}").expect("a file");
    let path = file.path().to_str().expect("text");
    let ask = ["ls", "-o", "name", "--api-key-file", path];
    let said: Said =
        server.command(&ask).env_remove("BOXHERD_API_KEY").output().expect("runs").into();
    assert_eq!(said.ok(), "");
    let refused: Said =
        server.command(&["ls"]).env("BOXHERD_TOKEN", "eyJ.no").output().expect("runs").into();
    assert!(refused.code == Some(1) && refused.err.contains("token"), "{refused:?}");
    let wrong: Said =
        server.command(&["ls"]).env("BOXHERD_API_KEY", "bxd_no").output().expect("runs").into();
    assert!(wrong.err.contains("refuses the API key"), "{wrong:?}");
}
