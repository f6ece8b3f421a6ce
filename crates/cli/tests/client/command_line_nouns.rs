//! `boxherd --server` with what belongs to boxes: labels, snapshots, disks, proxies, keys, copies.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use crate::lab::Said;
use crate::server::Server;

/// What a command prints here and what it prints of the server; the first user is the host's.
fn same(server: &Server, arguments: &[&str]) -> String {
    let there = server.boxherd(arguments).ok();
    assert_eq!(there, server.lab.boxherd(arguments).ok(), "{arguments:?}");
    there
}

/// The same, in every format.
fn same_in_every_format(server: &Server, arguments: &[&str]) {
    for format in ["table", "json", "yaml", "name"] {
        same(server, &[arguments, &["-o", format]].concat());
    }
}

#[test]
fn labels_and_snapshots_are_what_they_are_here() {
    let test = "labels_and_snapshots_are_what_they_are_here";
    let Some(server) = Server::open(test) else { return };
    server.boxherd(&["create", "web", "-l", "old=1"]).ok();
    server.boxherd(&["label", "web", "tier=front", "old-"]).ok();
    assert_eq!(same(&server, &["ls", "-l", "tier=front", "-o", "name"]), "web\n");
    assert_eq!(same(&server, &["ls", "-l", "old", "-o", "name"]), "");

    server.boxherd(&["exec", "web", "--", "sh", "-c", "echo before > /srv/note"]).ok();
    assert_eq!(server.boxherd(&["snapshot", "create", "web", "first"]).ok(), "first\n");
    same_in_every_format(&server, &["snapshot", "ls", "web"]);
    server.boxherd(&["exec", "web", "--", "sh", "-c", "echo after > /srv/note"]).ok();
    let restore = ["snapshot", "restore", "web", "first"];
    let (here, there) = (server.lab.boxherd(&restore), server.boxherd(&restore));
    assert!(here.code == Some(1) && here.err == there.err, "{here:?} {there:?}");
    server.boxherd(&["stop", "web"]).ok();
    server.boxherd(&restore).ok();
    server.boxherd(&["start", "web"]).ok();
    assert_eq!(server.boxherd(&["exec", "web", "--", "cat", "/srv/note"]).ok(), "before\n");
    server.boxherd(&["snapshot", "rm", "web", "first"]).ok();
    assert_eq!(same(&server, &["snapshot", "ls", "web", "-o", "name"]), "");
    let top = server.boxherd(&["top", "--once", "--interval", "100ms", "-o", "json"]).ok();
    let top: serde_json::Value = serde_json::from_str(&top).expect("JSON");
    assert!(top[0]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{top}");
    server.boxherd(&["rm", "--force", "web"]).ok();
}

#[test]
fn disks_are_what_they_are_here() {
    let Some(server) = Server::open("disks_are_what_they_are_here") else { return };
    let made = server.boxherd(&["disk", "create", "data", "64MiB"]);
    if made.err.contains("unsupported") {
        return boxherd_testkit::skip("disks_are_what_they_are_here", &made.err);
    }
    made.ok();
    // The host's disks are others: the same is done with one of those.
    server.lab.boxherd(&["disk", "create", "data", "64MiB"]).ok();
    let (there, here) = (disks(&server, true), disks(&server, false));
    assert_eq!(there, here);
    assert!(there[0].contains("data  local   64MiB  one  /data  writable"), "{there:?}");
    assert!(there[1].contains("read-only"), "{there:?}");
}

/// Makes a box with a disk, there or here, and says what was listed meanwhile.
fn disks(server: &Server, there: bool) -> Vec<String> {
    let boxherd = |arguments: &[&str]| match there {
        true => server.boxherd(arguments),
        false => server.lab.boxherd(arguments),
    };
    boxherd(&["create", "one", "--volume", "data:/data"]).ok();
    let mut listed = vec![boxherd(&["disk", "ls"]).ok()];
    let touch = ["exec", "one", "--", "touch", "/data/kept"];
    boxherd(&touch).ok();
    boxherd(&["disk", "detach", "data", "one"]).ok();
    let look = ["run", "--volume", "data:/srv/d:ro", "--", "sh", "-c", "ls /srv/d; touch /srv/d/x"];
    let said = boxherd(&look);
    assert!(said.code != Some(0) && said.out.contains("kept\n"), "{said:?}");
    boxherd(&["disk", "attach", "data", "one", "/data", "--read-only"]).ok();
    listed.push(boxherd(&["disk", "ls"]).ok());
    listed.push(boxherd(&["disk", "ls", "-o", "name"]).ok());
    boxherd(&touch).refused();
    boxherd(&["disk", "detach", "data", "one"]).ok();
    boxherd(&["rm", "--force", "one"]).ok();
    boxherd(&["disk", "rm", "data"]).ok();
    listed
}

#[test]
fn proxies_and_keys_are_ones_own() {
    let Some(server) = Server::open("proxies_and_keys_are_ones_own") else { return };
    server.boxherd(&["create", "web"]).ok();
    assert_eq!(
        server.boxherd(&["proxy", "create", "web", "api", "9000", "-o", "name"]).ok(),
        "api.web\n"
    );
    server.boxherd(&["proxy", "set", "web", "--port", "auto"]).ok();
    assert_eq!(same(&server, &["proxy", "ls", "web", "-o", "name"]), "web\napi.web\n");
    server.boxherd(&["proxy", "set", "web", "--private"]).ok();
    let shown = server.boxherd(&["proxy", "ls", "web"]).ok();
    assert!(shown.lines().nth(1).is_some_and(|line| line.ends_with("owner")), "{shown}");
    server.boxherd(&["proxy", "set", "web", "--public"]).ok();
    let shown = server.boxherd(&["proxy", "ls", "web"]).ok();
    assert!(!shown.contains("owner"), "{shown}");
    server.boxherd(&["proxy", "rm", "web", "api"]).ok();
    assert_eq!(same(&server, &["proxy", "ls", "web", "-o", "name"]), "web\n");

    let made = server.boxherd(&["key", "create", "ci", "-o", "json"]).ok();
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!(made["user"], "admin");
    assert!(made["api_key"].as_str().expect("a key").starts_with("bxd_"));
    same(&server, &["key", "ls", "-o", "name"]);
    server.boxherd(&["key", "rm", made["id"].as_str().expect("an id")]).ok();
    let other = server.boxherd(&["key", "create", "--user", "other"]).ok();
    let theirs = server
        .command(&["key", "ls", "--user", "admin"])
        .env("BOXHERD_API_KEY", other.trim())
        .output();
    let theirs: Said = theirs.expect("runs").into();
    assert!(theirs.err.contains("for administrators"), "{theirs:?}");
    server.boxherd(&["rm", "--force", "web"]).ok();
}

#[test]
fn copies_go_where_they_go_here() {
    let Some(server) = Server::open("copies_go_where_they_go_here") else { return };
    server.boxherd(&["create", "web"]).ok();
    let here = tempfile::tempdir().expect("a folder");
    let path = |name: &str| here.path().join(name).to_str().expect("text").to_owned();
    let sh = |line: &str| server.boxherd(&["exec", "web", "--", "sh", "-c", line]).ok();
    fs::create_dir_all(path("tree/deep")).expect("mkdir");
    fs::write(path("tree/deep/file"), "content").expect("write");
    fs::set_permissions(path("tree/deep/file"), fs::Permissions::from_mode(0o750)).expect("chmod");
    symlink("deep/file", path("tree/link")).expect("symlink");

    server.boxherd(&["cp", &path("tree/deep/file"), "web:/srv/it's a file"]).ok();
    assert_eq!(sh("stat -c '%a %u' /srv/it*; cat /srv/it*"), "750 0\ncontent");
    server.boxherd(&["cp", "web:/srv/it's a file", &path("back")]).ok();
    assert_eq!(fs::read_to_string(path("back")).expect("read"), "content");
    assert_eq!(fs::metadata(path("back")).expect("stat").permissions().mode() & 0o777, 0o750);

    // Into a folder that is there, and as one that is not; the content only.
    server.boxherd(&["cp", &path("tree"), "web:/srv"]).ok();
    server.boxherd(&["cp", &path("tree"), "web:/srv/new"]).ok();
    server.boxherd(&["cp", &path("tree/."), "web:/srv/tree/deep"]).ok();
    assert_eq!(
        sh("cat /srv/tree/link /srv/new/link /srv/tree/deep/deep/file"),
        "content".repeat(3)
    );
    server.boxherd(&["cp", "web:/srv/tree", &path("out")]).ok();
    assert_eq!(fs::read_link(path("out/link")).expect("a link").to_str(), Some("deep/file"));

    let mut out = server.command(&["cp", "web:/srv/new", "-"]);
    let mut out = out.stdout(Stdio::piped()).spawn().expect("boxherd runs");
    let archive = out.stdout.take().expect("a pipe");
    let mut back = server.command(&["cp", "-", "web:/tmp"]);
    let said: Said = back.stdin(archive).output().expect("runs").into();
    said.ok();
    assert!(out.wait().expect("it ends").success());
    assert_eq!(sh("cat /tmp/new/deep/file"), "content");

    for (from, to) in
        [("web:/no/such", path("x")), (path("back").as_str(), "web:/no/such/a".to_owned())]
    {
        let (there, here) =
            (server.boxherd(&["cp", from, &to]), server.lab.boxherd(&["cp", from, &to]));
        assert_eq!((there.code, here.code), (Some(1), Some(1)), "{there:?} {here:?}");
    }
    server.boxherd(&["rm", "--force", "web"]).ok();
}
