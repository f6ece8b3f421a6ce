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

/// What boxd has no words for, ours has.
#[test]
fn every_flag_of_a_box_reaches_the_server() {
    let Some(server) = Server::open("every_flag_of_a_box_reaches_the_server") else { return };
    let flags = ["--user", "nobody", "--workdir", "/tmp", "--cpus", "0.5", "--pids", "99"];
    let flags = [&["create", "web", "--engine", "local", "--egress", "192.0.2.1:443"], &flags[..]];
    server.boxherd(&flags.concat()).ok();
    let shown: serde_json::Value =
        serde_json::from_str(&server.boxherd(&["show", "web", "-o", "json"]).ok()).expect("JSON");
    let spec = &shown["spec"];
    assert_eq!((&spec["user"], &spec["workdir"]), (&"nobody".into(), &"/tmp".into()), "{spec}");
    assert_eq!((&spec["limits"]["cpus"], &spec["limits"]["pids"]), (&"0.5".into(), &99.into()));
    assert!(spec["network"].to_string().contains("192.0.2.1:443"), "{spec}");
    assert_eq!(spec["ephemeral"], false);
    let who = ["exec", "web", "--", "sh", "-c", "id -un; pwd"];
    assert_eq!(server.boxherd(&who).ok(), "nobody\n/tmp\n");
    let who = ["exec", "--user", "root:daemon", "web", "--", "sh", "-c", "id -un; id -gn"];
    assert_eq!(server.boxherd(&who).ok(), "root\ndaemon\n");
    let alone = ["run", "--network", "none", "--", "sh", "-c", "ls /sys/class/net"];
    assert_eq!(server.boxherd(&alone).ok(), "lo\n");
    // It does not end by itself, and is not waited for long.
    server.boxherd(&["create", "deaf", "--", "sh", "-c", "trap '' TERM; sleep 98765"]).ok();
    let begun = std::time::Instant::now();
    server.boxherd(&["stop", "--grace", "100ms", "deaf"]).ok();
    assert!(begun.elapsed() < std::time::Duration::from_secs(9), "the usual grace is 10 s");
    let live = server.boxherd(&["fork", "--live", "web", "copy"]);
    assert!(live.code == Some(1) && live.err.contains("memory"), "{live:?}");
    server.boxherd(&["rm", "--force", "web", "deaf"]).ok();
}

/// Of what strangers may ask for.
#[test]
fn boxes_that_make_boxes_are_for_administrators() {
    let test = "boxes_that_make_boxes_are_for_administrators";
    let Some(server) = Server::open(test) else { return };
    let nested = ["run", "--nesting", "--", "unshare", "--user", "--map-root-user", "id", "-u"];
    assert_eq!(server.boxherd(&nested).ok(), "0\n");
    let key = server.lab.boxherd(&["key", "create", "--user", "other", "-o", "json"]).ok();
    let key: serde_json::Value = serde_json::from_str(&key).expect("JSON");
    let key = key["api_key"].as_str().expect("a key");
    let said: Said =
        server.command(&nested).env("BOXHERD_API_KEY", key).output().expect("runs").into();
    assert!(said.err.contains("`nesting`, and more than 4096 `pids`, are for"), "{said:?}");
    let many = ["run", "--pids", "4097", "--", "true"];
    let said: Said =
        server.command(&many).env("BOXHERD_API_KEY", key).output().expect("runs").into();
    assert!(said.err.contains("for administrators"), "{said:?}");
    let plain: Said = server
        .command(&["run", "--", "id", "-u"])
        .env("BOXHERD_API_KEY", key)
        .output()
        .expect("runs")
        .into();
    assert_eq!(plain.ok(), "0\n");
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
    for (command, name) in [(&["doctor"][..], "doctor"), (&["bench", "exec"], "bench")] {
        let said = server.boxherd(command);
        said.refused();
        assert!(said.err.contains(&format!("`{name}` cannot be asked of a server")), "{said:?}");
        assert!(said.err.contains("hint: "), "{said:?}");
    }
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
