//! A store that is locked, gone or without space: what a server says then, and that nothing is lost.

use boxherd_client::{Client, Error, NewBox};

use crate::lab::Lab;
use crate::sdk::output;
use crate::server::{Server, with_server};

/// What the server's own code of the refusal is.
fn code<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    let error = answer.expect_err("it is refused");
    let code = error.refusal().and_then(|refusal| refusal.code.clone());
    code.unwrap_or_else(|| panic!("no code: {error:?}"))
}

async fn names(client: &Client) -> Vec<String> {
    let mut names: Vec<_> =
        client.boxes().list().await.unwrap().into_iter().map(|found| found.name).collect();
    names.sort_unstable();
    names
}

/// Keeps everybody else from writing.
fn lock(server: &Server) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(server.lab.data().join("herd.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    connection
}

with_server! {
    a_locked_store_is_waited_for(server) {
        let client = server.client().await;
        client.boxes().create(NewBox::named("one")).await.unwrap();
        let held = lock(&server);
        let creating = tokio::spawn({
            let client = client.clone();
            async move { client.boxes().create(NewBox::named("two")).await }
        });
        // Takes a second, in which the server has the other call too.
        let health = server.get("/healthz");
        assert_eq!(health, (503, "the store is locked by another process\n".to_owned()));
        assert_eq!(names(&client).await, ["one"], "readers do not wait");
        assert!(!creating.is_finished());
        held.execute_batch("COMMIT").unwrap();
        creating.await.unwrap().unwrap();
        assert_eq!(names(&client).await, ["one", "two"]);
        assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
    }

    a_store_that_stays_locked_is_told_and_nothing_is_half_done(server) {
        let client = server.client().await;
        let boxes = client.boxes();
        boxes.create(NewBox::named("one")).await.unwrap();
        let held = lock(&server);
        let (made, deleted, stopped) = tokio::join!(
            boxes.create(NewBox::named("two")),
            boxes.destroy("one"),
            boxes.stop("one"),
        );
        for refused in [made.map(drop), deleted, stopped] {
            assert_eq!(code(refused), "store-busy");
        }
        let exchange = server.builder().connect().await;
        assert!(exchange.unwrap_err().to_string().contains("the store is locked"));
        drop(held);
        assert_eq!(names(&client).await, ["one"]);
        assert_eq!(output(&client, "one", "echo fine").await.stdout, b"fine\n");
        boxes.create(NewBox::named("two")).await.unwrap();
        boxes.destroy("one").await.unwrap();
    }

    a_store_whose_file_is_gone_is_told_and_nothing_is_lost(server) {
        let client = server.client().await;
        client.boxes().create(NewBox::named("one")).await.unwrap();
        let file = server.lab.data().join("herd.db");
        let aside = server.lab.data().join("aside");
        std::fs::rename(&file, &aside).unwrap();
        let (status, said) = server.get("/healthz");
        assert_eq!((status, said.as_str()), (503, "the store is out of reach, at looking at the store\n"));
        assert_eq!(code(client.boxes().create(NewBox::named("two")).await), "store-gone");
        assert_eq!(code(client.boxes().destroy("one").await), "store-gone");
        std::fs::rename(&aside, &file).unwrap();
        assert_eq!(server.get("/healthz").0, 200);
        assert_eq!(names(&client).await, ["one"]);
        assert_eq!(output(&client, "one", "echo fine").await.stdout, b"fine\n");
    }
}

#[test]
fn a_full_disk_is_told_and_room_can_be_made() {
    let test = "a_full_disk_is_told_and_room_can_be_made";
    for kind in ["ext4", "btrfs"] {
        eprintln!("on {kind}");
        let Some(lab) = Lab::small(test, kind, 128) else { return };
        let server = Server::open_on(lab, &[]);
        let runtime = tokio::runtime::Runtime::new().expect("an event loop");
        runtime.block_on(full_disk(&server));
    }
}

async fn full_disk(server: &Server) {
    let client = server.client().await;
    let boxes = client.boxes();
    for name in ["one", "two"] {
        boxes.create(NewBox::named(name)).await.unwrap();
    }
    let file = client.files("one");
    file.write("/srv/file", vec![b'a'; 1 << 20]).await.unwrap();
    server.lab.fill(0);
    assert_eq!(server.get("/healthz").0, 503);
    let upload = file.write("/srv/file", vec![b'b'; 8 << 20]).await;
    assert!(matches!(upload, Err(Error::Quota(_))), "{upload:?}");
    let refused = boxes.create(NewBox::named("three")).await;
    assert!(matches!(refused, Err(Error::Quota(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains(" space "));
    assert_eq!(names(&client).await, ["one", "two"]);
    let kept = output(&client, "one", "wc -c < /srv/file; tr -d a < /srv/file | wc -c").await;
    assert_eq!(kept.stdout, b"1048576\n0\n", "the old file is whole");
    // To delete is how room is made.
    boxes.destroy("two").await.unwrap();
    assert_eq!(names(&client).await, ["one"]);
    server.lab.free();
    boxes.create(NewBox::named("three")).await.unwrap();
    assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(names(&client).await, ["one", "three"]);
}
