//! Two servers on one store.

use super::*;

impl Lab {
    async fn server(&self) -> Herd {
        let store = Arc::new(SqliteStore::open(&self.folder.path().join("herd.db")).unwrap());
        let mut config = HerdConfig::new(self.folder.path().join("locks"), "first".to_owned());
        config.patience = Duration::from_millis(100);
        config.lease = Some(Duration::from_secs(3600));
        Herd::open(store, vec![Arc::new(self.engine.reopened())], config).await.unwrap()
    }
}

#[tokio::test]
async fn servers_change_a_box_in_turns() {
    let lab = Lab::new();
    let (one, two) = (lab.server().await, lab.server().await);
    one.create(spec("web").into()).await.unwrap();
    for _ in 0..3 {
        for server in [&one, &two] {
            server.stop(&at("web"), Duration::from_secs(1)).await.unwrap();
            server.start(&at("web")).await.unwrap();
        }
    }
    two.delete(&at("web")).await.unwrap();
    agree(&one, &lab).await;
}

#[tokio::test]
async fn who_holds_a_lease_is_waited_for_and_not_for_ever() {
    let lab = Lab::new();
    let (one, two) = (lab.server().await, lab.server().await);
    let id = one.create(spec("web").into()).await.unwrap().id;
    let record = one.store.box_by_id(id).await.unwrap().unwrap();
    let hold = one.lock(&record).await.unwrap();
    // Nor does a second request to the same server get in.
    for server in [&one, &two] {
        assert_eq!(server.start(&at("web")).await.unwrap_err().code(), "busy");
    }
    drop(hold);
    two.stop(&at("web"), Duration::from_secs(1)).await.unwrap();
    one.delete(&at("web")).await.unwrap();
    agree(&two, &lab).await;
}

#[tokio::test]
async fn who_lost_a_lease_changes_neither_box_nor_record() {
    let lab = Lab::new();
    let (one, two) = (lab.server().await, lab.server().await);
    let id = one.create(spec("web").into()).await.unwrap().id;
    let record = one.store.box_by_id(id).await.unwrap().unwrap();
    let hold = one.lock(&record).await.unwrap();
    let lease = one.store.holder_of(id).await.unwrap().unwrap();
    // As if it had stood still past its end.
    assert!(two.store.release(id, lease.token).await.unwrap());
    two.rename(&at("web"), "site".parse().unwrap()).await.unwrap();

    let refused = one
        .change_held(record, boxherd_model::Request::Stop, false, Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "fenced");
    let now = two.show(&at("site")).await.unwrap();
    assert_eq!(now.state, BoxState::Running);
    drop(hold);
    agree(&two, &lab).await;
    one.stop(&at("site"), Duration::from_secs(1)).await.unwrap();
    two.delete(&at("site")).await.unwrap();
}

/// Whoever deletes a box while it is being made need not wait, and it is gone afterwards.
#[tokio::test]
async fn a_box_that_is_deleted_while_it_is_made_is_gone() {
    let lab = Lab::new();
    let (one, two) = (lab.herd().await, lab.herd().await);
    for step in ["create", "create.end", "start", "start.end"] {
        lab.faults().next(step, Trouble::Slow(Duration::from_millis(300)));
        let making = tokio::spawn({
            let one = one.clone();
            async move { one.create(spec("web").into()).await }
        });
        while two.show(&at("web")).await.is_err() {
            tokio::task::yield_now().await;
        }
        two.delete(&at("web")).await.unwrap();
        let made = making.await.unwrap().unwrap_err();
        assert_eq!(made.code(), "no-such-box", "{step}: {made}");
        agree(&two, &lab).await;
    }
}
