use std::time::Duration;

use boxherd_model::{SnapshotId, SnapshotInfo, ThingId};
use futures_util::future::join_all;

use super::*;
use crate::{Durability, FencingToken, Outcome, StoreError, ThingKind, ThingRecord};

const LONG: Duration = Duration::from_secs(3600);
/// A lease that ends when it begins, as it looks to others after a holder stood still for long.
const OVER: Duration = Duration::ZERO;

pub(super) async fn a_lease_is_taken_once_until_it_ends(home: &dyn Home) {
    let (one, two) = (home.open().await, home.open().await);
    let (web, db) = (BoxId::new(), BoxId::new());
    assert_eq!(one.holder_of(web).await.unwrap(), None);
    let token = one.acquire(web, "one", LONG).await.unwrap().unwrap();
    assert_eq!(two.acquire(web, "two", LONG).await.unwrap(), None);
    assert!(two.acquire(db, "two", LONG).await.unwrap().is_some(), "another box is free");

    let lease = two.holder_of(web).await.unwrap().unwrap();
    assert_eq!((lease.holder.as_str(), lease.token), ("one", token));
    assert!(one.release(web, token).await.unwrap());
    assert_eq!(two.holder_of(web).await.unwrap(), None);
    assert!(two.acquire(web, "two", Duration::MAX).await.unwrap().is_some());
}

pub(super) async fn tokens_grow_with_every_change_of_holder(home: &dyn Home) {
    let store = home.open().await;
    let web = BoxId::new();
    let mut last = FencingToken(0);
    for holder in ["one", "two", "one", "one", "three"] {
        let token = store.acquire(web, holder, OVER).await.unwrap().unwrap();
        assert!(token > last, "{token:?} after {last:?}");
        last = token;
    }
    // Released is not forgotten.
    let token = store.acquire(web, "one", LONG).await.unwrap().unwrap();
    assert!(store.release(web, token).await.unwrap());
    assert!(store.acquire(web, "two", LONG).await.unwrap().unwrap() > token);
}

pub(super) async fn whoever_has_a_lease_keeps_its_token(home: &dyn Home) {
    let store = home.open().await;
    let web = BoxId::new();
    let token = store.acquire(web, "one", LONG).await.unwrap().unwrap();
    let before = store.holder_of(web).await.unwrap().unwrap().expires;
    assert_eq!(store.acquire(web, "one", LONG * 2).await.unwrap(), Some(token));
    assert!(store.renew(web, token, LONG * 3).await.unwrap());
    assert!(store.holder_of(web).await.unwrap().unwrap().expires > before);
}

pub(super) async fn a_lost_lease_is_neither_renewed_nor_released(home: &dyn Home) {
    let store = home.open().await;
    let web = BoxId::new();
    let lost = store.acquire(web, "one", OVER).await.unwrap().unwrap();
    assert!(!store.renew(web, lost, LONG).await.unwrap(), "it ended, though nobody took it");
    let token = store.acquire(web, "two", LONG).await.unwrap().unwrap();
    for wrong in [lost, FencingToken(token.0 + 1), FencingToken(u64::MAX)] {
        assert!(!store.renew(web, wrong, LONG).await.unwrap());
        assert!(!store.release(web, wrong).await.unwrap());
    }
    assert_eq!(store.holder_of(web).await.unwrap().unwrap().token, token);
    assert!(!store.renew(BoxId::new(), token, LONG).await.unwrap(), "of another box");
}

pub(super) async fn of_many_that_ask_at_once_one_gets_it(home: &dyn Home) {
    let web = BoxId::new();
    let asked = join_all((0..8).map(|n| async move {
        let store = home.open().await;
        let asking = async move { store.acquire(web, &format!("server-{n}"), LONG).await.unwrap() };
        tokio::spawn(asking).await.unwrap()
    }))
    .await;
    assert_eq!(asked.into_iter().flatten().count(), 1);
}

pub(super) async fn whoever_lost_a_lease_writes_nothing_of_its_box(home: &dyn Home) {
    let (one, two) = (home.open().await, home.open().await);
    let made = record("web");
    let create = operation(OperationKind::Create, &made);
    one.begin(&create, std::slice::from_ref(&made)).await.unwrap();
    let lost = one.acquire(made.id, "one", OVER).await.unwrap().unwrap();
    let kept = ThingRecord { of: Some(made.id), ..things::thing(ThingKind::Proxy, "kept") };
    one.add_thing(&kept).await.unwrap();
    let snapshot = |name: &str| SnapshotInfo {
        id: SnapshotId::new(),
        box_id: made.id,
        name: name.parse().unwrap(),
        created: at(1),
    };
    let saved = snapshot("saved");
    one.add_snapshot(&saved).await.unwrap();
    let mut renamed = made.clone();
    renamed.spec.name = "site".parse().unwrap();
    // It is over, and nobody has it yet.
    one.update(std::slice::from_ref(&renamed)).await.unwrap();
    one.update(std::slice::from_ref(&made)).await.unwrap();

    let token = two.acquire(made.id, "two", LONG).await.unwrap().unwrap();
    let mut change = operation(OperationKind::Change, &made);
    let durability = Durability::Process;
    let refused = [
        one.update(std::slice::from_ref(&renamed)).await,
        one.correct(&made, &renamed).await.map(drop),
        one.begin(&change, &[]).await,
        one.finish(&create, std::slice::from_ref(&renamed), &[], durability).await.map(drop),
        one.finish(&create, &[], &[made.id], durability).await.map(drop),
        one.add_thing(&ThingRecord { id: ThingId::new(), name: "new".to_owned(), ..kept.clone() })
            .await,
        one.update_thing(&ThingRecord { body: "[]".to_owned(), ..kept.clone() }).await,
        one.remove_thing(kept.id).await.map(drop),
        one.add_snapshot(&snapshot("new")).await,
        one.remove_snapshot(saved.id).await,
    ];
    for refused in refused {
        assert!(matches!(refused, Err(StoreError::Fenced(id)) if id == made.id), "{refused:?}");
    }
    assert_eq!(two.box_by_id(made.id).await.unwrap().as_ref(), Some(&made));
    assert_eq!(two.unfinished().await.unwrap(), [create]);
    assert_eq!(two.things_of(ThingKind::Proxy, made.id).await.unwrap(), [kept]);
    assert_eq!(two.snapshots(made.id).await.unwrap(), [saved]);

    two.begin(&change, &[]).await.unwrap();
    change.outcome = Some(Outcome::Done);
    two.finish(&change, std::slice::from_ref(&renamed), &[], durability).await.unwrap();
    assert!(two.release(made.id, token).await.unwrap());
    assert!(!one.release(made.id, lost).await.unwrap());
    // Whoever holds none is not looked at.
    one.update(std::slice::from_ref(&made)).await.unwrap();
}
