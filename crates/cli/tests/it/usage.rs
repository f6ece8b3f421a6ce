//! What can be typed, what is said to mistakes, and what results look like.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::{Lab, Said};

/// Every command, as its `--help` is asked for.
const COMMANDS: &[&str] = &[
    "",
    "run",
    "create",
    "ls",
    "show",
    "rm",
    "start",
    "stop",
    "restart",
    "suspend",
    "resume",
    "hibernate",
    "fork",
    "snapshot",
    "snapshot create",
    "snapshot ls",
    "snapshot restore",
    "snapshot rm",
    "rename",
    "label",
    "exec",
    "shell",
    "cp",
    "logs",
    "port",
    "disk",
    "disk create",
    "disk ls",
    "disk attach",
    "disk detach",
    "disk rm",
    "image",
    "image pull",
    "image import",
    "proxy ls",
    "proxy create",
    "proxy set",
    "proxy rm",
    "image build",
    "image ls",
    "image rm",
    "doctor",
    "serve",
    "key",
    "key create",
    "key ls",
    "key rm",
    "user",
    "user create",
    "user ls",
    "user set",
    "bench",
    "bench lxd",
    "bench delay",
    "completion",
];

fn boxherd(args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_boxherd"));
    // Nothing is made, even should a mistake be taken for none.
    command
        .args(args)
        .env("BOXHERD_DATA", "/dev/null/data")
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    command.output().expect("boxherd runs").into()
}

/// Set `BOXHERD_BLESS` to write the file anew, and read the difference.
#[test]
fn the_help_of_every_command_is_as_reviewed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/help.txt");
    let mut now = String::new();
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let help = boxherd(&args).ok();
        now.push_str(&format!("$ boxherd {}\n{}\n", args.join(" "), help.trim_end()));
        now.push('\n');
    }
    if std::env::var_os("BOXHERD_BLESS").is_some() {
        std::fs::write(&file, &now).expect("write");
    }
    let reviewed = std::fs::read_to_string(&file).expect("the reviewed help");
    for (number, (now, reviewed)) in now.lines().zip(reviewed.lines()).enumerate() {
        assert_eq!(now, reviewed, "line {} of {}", number + 1, file.display());
    }
    assert_eq!(now.lines().count(), reviewed.lines().count());
}

#[test]
fn a_mistake_exits_with_2_and_before_a_command_with_125() {
    for args in [&["ls", "--nonsense"][..], &["create"], &["nonsense"], &["rm"], &[]] {
        let said = boxherd(args);
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{said:?}");
    }
    for args in [&["exec"][..], &["run", "--nonsense", "true"], &["shell"], &["exec", "A", "x"]] {
        assert_eq!(boxherd(args).code, Some(125), "{args:?}");
    }
}

#[test]
fn a_mistake_is_one_line_with_a_hint_and_an_object_for_programs() {
    let said = boxherd(&["snapshot", "ls"]);
    let lines: Vec<_> = said.err.lines().collect();
    assert!(lines[0].starts_with("error: ") && lines[0].contains("<NAME>"), "{said:?}");
    assert_eq!(lines[1..], ["hint: `boxherd snapshot ls --help` shows how it is written"]);
    let said = boxherd(&["-o", "json", "exec", "a/b", "--", "true"]);
    let error: serde_json::Value = serde_json::from_str(&said.err).expect("JSON");
    assert_eq!((said.code, &error["error"]["code"]), (Some(125), &"usage".into()));
    assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("a/b")));
    // Who types the name only wants to know what there is.
    let said = boxherd(&[]);
    assert!(said.err.contains("Usage: boxherd") && said.err.contains("suspend"), "{said:?}");
    assert!(!said.err.contains("netd"), "{said:?}");
}

#[test]
fn names_and_sizes_that_cannot_be_are_refused_by_name() {
    let long = "a".repeat(64);
    for name in ["a/b", "..", "", "ünïcode", "UPPER", "-a", "a b", "a\nb", &long] {
        let said = boxherd(&["create", "--", name]);
        assert_eq!(said.code, Some(2), "`{name}`: {said:?}");
        let said = boxherd(&["rename", "old", name]);
        assert_eq!(said.code, Some(2), "`{name}`: {said:?}");
    }
    for size in ["99999999999T", "-1", "1.5.5G", "x", "18446744073709551616"] {
        let said = boxherd(&["create", "a", &format!("--memory={size}")]);
        assert_eq!(said.code, Some(2), "`{size}`: {said:?}");
        assert!(said.err.contains(size), "{said:?}");
    }
}

#[test]
fn completion_is_a_script_of_each_shell() {
    for (shell, check) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let script = boxherd(&["completion", shell]).ok();
        assert!(script.contains("snapshot"), "{shell}");
        if !Path::new("/usr/bin").join(check).exists() {
            boxherd_testkit::skip("completion_is_a_script", &format!("no {check} to read it"));
            continue;
        }
        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("script");
        std::fs::write(&file, script).expect("write");
        let read = Command::new(check).arg("-n").arg(&file).status().expect("a shell");
        assert!(read.success(), "{shell}");
    }
}

#[test]
fn results_are_documents_for_programs_and_names_for_scripts() {
    let Some(lab) = Lab::open("results_are_documents") else { return };
    lab.create("web", &["-l", "tier=front"]);
    lab.create("db", &[]);
    let json = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&lab.boxherd(args).ok()).expect("JSON")
    };
    let listed = json(&["ls", "-o", "json"]);
    assert_eq!(listed[0]["spec"]["name"], "db");
    assert_eq!(listed[1]["spec"]["labels"]["tier"], "front");
    assert_eq!(json(&["show", "web", "-o", "json"])["state"], "running");
    assert!(lab.boxherd(&["show", "web", "-o", "yaml"]).ok().contains("name: web\n"));
    assert_eq!(lab.boxherd(&["ls", "-o", "name"]).ok(), "db\nweb\n");
    assert_eq!(lab.boxherd(&["ls", "-q", "-l", "tier=front"]).ok(), "web\n");
    assert!(lab.boxherd(&["ls"]).ok().starts_with("NAME"));
    // Who asks for a document gets one, whatever the command is.
    lab.boxherd(&["stop", "web"]).ok();
    lab.boxherd(&["snapshot", "create", "web", "good"]).ok();
    let restored = json(&["snapshot", "restore", "web", "good", "-o", "json"]);
    assert_eq!(
        (&restored[0]["spec"]["name"], &restored[0]["state"]),
        (&"web".into(), &"stopped".into())
    );
    assert_eq!(lab.boxherd(&["start", "web", "-o", "name"]).ok(), "web\n");
}

#[test]
fn an_error_is_an_object_for_programs_and_a_sentence_for_people() {
    let Some(lab) = Lab::open("an_error_is_an_object") else { return };
    let said = lab.boxherd(&["show", "nobody", "-o", "json"]);
    let error: serde_json::Value = serde_json::from_str(&said.err).expect("JSON");
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert_eq!(error["error"]["code"], "no-such-box");
    let said = lab.boxherd(&["show", "nobody"]);
    assert_eq!(said.err.lines().next(), Some("error: there is no box `nobody`"));
    assert_eq!(lab.boxherd(&["exec", "nobody", "--", "true"]).code, Some(125));
}

#[test]
fn a_command_that_cannot_begin_is_not_the_fault_of_the_agent() {
    let Some(lab) = Lab::open("a_command_that_cannot_begin") else { return };
    lab.create("web", &[]);
    for (flags, reason) in [(["-w", "/none"], "cannot enter `/none`"), (["-u", "who"], "`who`")] {
        let args = [&["exec", "-o", "json"], &flags[..], &["web", "--", "true"]].concat();
        let said = lab.boxherd(&args);
        let error: serde_json::Value = serde_json::from_str(&said.err).expect("JSON");
        let error = &error["error"];
        assert_eq!((said.code, &error["code"]), (Some(125), &"refused".into()), "{error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.starts_with("cannot run a command in `web`: "), "{message}");
        assert!(message.contains(reason) && error["hint"].is_null(), "{error}");
    }
}

#[test]
fn a_folder_that_others_use_does_not_become_the_data_folder() {
    if !boxherd_testkit::root_or_skip("a_folder_that_others_use") {
        return;
    }
    let folder = tempfile::tempdir().expect("tempdir");
    let (used, mine) = (folder.path().join("used"), folder.path().join("mine"));
    for path in [&used, &mine] {
        std::fs::create_dir(path).expect("mkdir");
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("chmod");
    }
    std::fs::write(used.join("passwd"), "root").expect("write");
    std::fs::create_dir(mine.join("lost+found")).expect("mkdir");
    let ls = |data: &Path| boxherd(&["--data", data.to_str().expect("UTF-8"), "ls"]);
    let said = ls(&used);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("holds no boxes but other files, such as `passwd`"), "{said:?}");
    assert!(said.err.contains("\nhint: `--data DIR`"), "{said:?}");
    let mode = |path: &Path| std::fs::metadata(path).expect("stat").permissions().mode() & 0o777;
    assert_eq!(mode(&used), 0o755, "as before");
    assert_eq!(std::fs::read_dir(&used).expect("ls").count(), 1);
    ls(&mine).ok();
    assert_eq!(mode(&mine), 0o700);
}

#[test]
fn everything_that_was_asked_for_is_shown() {
    let Some(lab) = Lab::open("everything_that_was_asked_for_is_shown") else { return };
    let flags = ["-e", "A=b", "-w", "/srv", "-u", "nobody", "-l", "tier=front", "--nesting"];
    lab.create("web", &flags);
    let sheet = lab.boxherd(&["show", "web"]).ok();
    let lines: Vec<Vec<_>> = sheet.lines().map(|line| line.split_whitespace().collect()).collect();
    for line in [
        &["network", "none:", "loopback", "only"][..],
        &["env", "A=b"],
        &["workdir", "/srv"],
        &["user", "nobody"],
        &["label", "tier=front"],
        &["nesting", "allowed"],
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line:?} in {sheet}");
    }
}

#[test]
fn what_cannot_be_is_said_with_the_way_out() {
    let Some(lab) = Lab::open("what_cannot_be_is_said_with_the_way_out") else { return };
    let says = |args: &[&str], message: &str, hint: &str| {
        let said = lab.boxherd(args);
        said.refused();
        assert!(said.err.contains(message), "{args:?}: {said:?}");
        assert!(said.err.contains(&format!("hint: {hint}")), "{args:?}: {said:?}");
    };
    lab.create("web", &[]);
    says(&["image", "rm", "host"], "error: image `host`", "`host` is this machine's own files");
    says(&["image", "rm", "none"], "error: image `none`: it is not in", "`boxherd image ls`");
    says(&["create", "x", "--engine", "none"], "there is no engine `none`", "leave it out");
    says(&["create", "x", "--memory", "0", "--network", "none"], "cannot create `x`", "a limit of");
    says(&["snapshot", "restore", "web", "none"], "", "`boxherd ");
    says(&["resume", "nobody"], "there is no box `nobody`", "`boxherd ls` lists the boxes");
    lab.boxherd(&["stop", "web"]).ok();
    says(&["suspend", "web"], "the box is stopped, not running", "`boxherd start web` starts it");
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "web\n");
}

/// What was not built in is not left out without a word.
#[test]
#[cfg(not(feature = "otel"))]
fn traces_are_refused_where_they_were_not_built_in() {
    let said = boxherd(&["serve", "--otlp", "http://127.0.0.1:4317"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("`--otlp` is not honoured"), "{said:?}");
    assert!(said.err.contains("--features otel"), "{said:?}");
}

#[test]
fn a_spec_with_an_unknown_key_is_refused_and_one_without_makes_a_box() {
    let Some(lab) = Lab::open("a_spec_with_an_unknown_key") else { return };
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("box.yaml");
    let path = file.to_str().expect("UTF-8");
    std::fs::write(&file, "name: web\nnetwork: none\nmemroy: 1GiB\n").expect("write");
    let said = lab.boxherd(&["create", "-f", path]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("memroy"), "{said:?}");
    assert_eq!(lab.boxherd(&["ls", "-q"]).ok(), "");
    std::fs::write(&file, "name: web\nnetwork: none\nlabels: {tier: front}\n").expect("write");
    assert_eq!(lab.boxherd(&["create", "-f", path]).ok(), "web\n");
    assert_eq!(lab.boxherd(&["ls", "-q", "-l", "tier=front"]).ok(), "web\n");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let Some(lab) = Lab::open("a_reader_that_goes_away") else { return };
    lab.create("web", &[]);
    for args in [&["ls"][..], &["--help"], &["completion", "bash"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let said: Said = lab.command(args).stdout(writer).output().expect("boxherd runs").into();
        assert_eq!((said.code, said.err.as_str()), (Some(141), ""), "{args:?}");
    }
}
