//! Boxes that are written down on a real Postgres server.

use std::io::Read as _;
use std::process::Stdio;

use boxherd_testkit::PostgresServer;
use rustix::process::{Pid, Signal};

use crate::engines::{Lxd, name};
use crate::lab::{Lab, Said};
use crate::wait::until;

fn on(url: &str, lab: &Lab, args: &[&str]) -> Said {
    lab.command(args).env("BOXHERD_STORE", url).output().expect("boxherd runs").into()
}

#[tokio::test]
async fn boxes_are_written_down_on_a_server() {
    let test = "postgres::boxes_are_written_down_on_a_server";
    let (Some(lab), Some(other)) = (Lab::open(test), Lab::open(test)) else { return };
    let Some(mut server) = PostgresServer::start_or_skip(test).await else { return };
    let url = server.url("public");
    on(&url, &lab, &["create", "web", "--network", "none"]).ok();
    assert_eq!(on(&url, &lab, &["exec", "web", "--", "echo", "hello"]).ok(), "hello\n");
    assert_eq!(on(&url, &lab, &["ls", "-q"]).ok(), "web\n");

    // Whoever forgets where they are written down harms none of them.
    let forgotten = lab.boxherd(&["ls"]);
    assert_eq!(forgotten.code, Some(1), "{forgotten:?}");
    assert!(forgotten.err.contains("`--store`"), "{}", forgotten.err);
    // Nor does who names another database, which is empty.
    let empty = server.schema("empty").await;
    let elsewhere = on(&server.url(&empty), &lab, &["ls"]);
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:?}");
    assert!(elsewhere.err.contains("none of the boxes"), "{}", elsewhere.err);
    // Nor does another data folder, whose boxes they are not.
    let stranger = on(&url, &other, &["create", "web", "--network", "none"]);
    assert_eq!(stranger.code, Some(1), "{stranger:?}");
    assert!(stranger.err.contains("another data folder"), "{}", stranger.err);
    // Nor one that has boxes of its own elsewhere.
    other.create("own", &[]);
    let wrong = on(&server.url("pg_temp"), &other, &["ls"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.err.contains("leave `--store` away"), "{}", wrong.err);
    assert_eq!(other.boxherd(&["ls", "-q"]).ok(), "own\n");

    // A server that is away is named, and the box is there when it is back. What boxes are like may
    // be on disk some moments late: reconcile finds it out.
    server.run("CHECKPOINT").await;
    server.kill();
    let away = on(&url, &lab, &["ls"]);
    assert_eq!(away.code, Some(1), "{away:?}");
    server.start().await;
    assert_eq!(on(&url, &lab, &["exec", "web", "--", "echo", "still"]).ok(), "still\n");
    on(&url, &lab, &["rm", "--force", "web"]).ok();
    assert_eq!(on(&url, &lab, &["ls", "-q"]).ok(), "");
}

#[tokio::test]
async fn a_box_is_taken_over_from_who_stands_still() {
    let test = "postgres::a_box_is_taken_over_from_who_stands_still";
    let Some(lab) = Lab::open(test) else { return };
    let Some(server) = PostgresServer::start_or_skip(test).await else { return };
    let url = server.url("public");
    on(&url, &lab, &["create", "web", "--network", "none"]).ok();
    stand_still_and_change_nothing(&url, &lab, ("web", "site"));
}

#[tokio::test]
async fn a_box_on_lxd_is_taken_over_from_who_stands_still() {
    let test = "postgres::a_box_on_lxd_is_taken_over_from_who_stands_still";
    let Some(lxd) = Lxd::open(test) else { return };
    let Some(server) = PostgresServer::start_or_skip(test).await else { return };
    let url = server.url("public");
    lxd.add("lab", &[]).ok();
    let (web, site) = (name("still-web"), name("still-site"));
    on(&url, &lxd.lab, &["create", &format!("lab:{web}")]).ok();
    stand_still_and_change_nothing(&url, &lxd.lab, (&web, &site));
}

/// A program that stands still in the middle of an operation for longer than its lease, and goes on
/// when another has done something else to the box, finds that out and changes nothing. The box is removed.
fn stand_still_and_change_nothing(url: &str, lab: &Lab, (web, site): (&str, &str)) {
    let mut still = lab
        .command(&["suspend", web])
        .env("BOXHERD_STORE", url)
        .env("BOXHERD_STOP_AT", "change.begun")
        .stderr(Stdio::piped())
        .spawn()
        .expect("boxherd runs");
    until("it stands still", || (state(still.id()) == Some('T')).then_some(()));
    assert_eq!(on(url, lab, &["exec", web, "--", "echo", "on"]).ok(), "on\n");
    on(url, lab, &["rename", web, site]).ok();

    let pid = Pid::from_child(&still);
    rustix::process::kill_process(pid, Signal::CONT).expect("it is there");
    let mut said = String::new();
    still.stderr.take().expect("piped").read_to_string(&mut said).expect("it says why");
    assert_eq!(still.wait().expect("it ends").code(), Some(1), "{said}");
    assert!(said.contains("another server has taken over the box"), "{said}");

    // It did nothing, and nothing is left undone.
    let listed = on(url, lab, &["ls"]).ok();
    assert!(listed.contains(site) && listed.contains("running"), "{listed}");
    assert_eq!(on(url, lab, &["exec", site, "--", "echo", "still"]).ok(), "still\n");
    on(url, lab, &["rm", "--force", site]).ok();
}

/// The third word of `/proc/PID/stat` (`proc_pid_stat(5)`); the second has no spaces here.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.split(' ').nth(2)?.chars().next()
}
