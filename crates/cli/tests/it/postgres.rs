//! Boxes that are written down on a real Postgres server.

use boxherd_testkit::PostgresServer;

use crate::lab::{Lab, Said};

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
