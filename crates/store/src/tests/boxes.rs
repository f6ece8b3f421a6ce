use boxherd_model::{ByteSize, Caller, Holdings, SnapshotId, SnapshotInfo, StopReason};
use futures_util::future::join_all;

use super::*;
use crate::{Durability, Held, Outcome};

pub(super) async fn what_was_written_is_read_back_whole(home: &dyn Home) {
    let store = home.open().await;
    let mut made = record("web");
    made.state = BoxState::Stopped;
    made.owner = Some(UserId::new());
    made.reason = Some(StopReason::Exited { code: 3 });
    made.failure = Some("no room".to_owned());
    made.maker = Some("session".to_owned());
    made.details.notes.push("no bridge".to_owned());
    made.spec.limits.memory = Some(ByteSize::from_mib(64));
    made.spec.limits.disk = Some(ByteSize::from_mib(100));
    let mut create = operation(OperationKind::Create, &made);
    create.key = Some("k".to_owned());
    made.last_operation = Some(create.id);
    store.begin(&create, std::slice::from_ref(&made)).await.unwrap();

    assert_eq!(store.box_by_id(made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(store.unfinished().await.unwrap(), [create.clone()]);
    assert_eq!(store.doomed().await.unwrap(), [made.clone()]);

    let held = Held {
        engine: made.engine.clone(),
        owner: made.owner,
        holdings: Holdings { boxes: 1, memory: 0, disk: 100 << 20 },
    };
    assert_eq!(store.holdings().await.unwrap(), std::slice::from_ref(&held));

    let mut changed = made.clone();
    changed.state = BoxState::Running;
    changed.spec.name = "site".parse().unwrap();
    store.update(std::slice::from_ref(&changed)).await.unwrap();
    assert_eq!(store.boxes().await.unwrap(), [changed]);
    let holdings = Holdings { memory: 64 << 20, ..held.holdings };
    assert_eq!(store.holdings().await.unwrap(), [Held { holdings, ..held }]);

    create.outcome = Some(Outcome::Done);
    store.finish(&create, &[], &[made.id], Durability::Disk).await.unwrap();
    assert!(store.unfinished().await.unwrap().is_empty());
    assert!(store.boxes().await.unwrap().is_empty());
    assert_eq!(store.operation(create.id).await.unwrap(), Some(create));

    store.update(std::slice::from_ref(&made)).await.unwrap();
    assert_eq!(store.box_by_id(made.id).await.unwrap(), None, "gone stays gone");
}

pub(super) async fn a_name_is_taken_once_per_engine_and_owner_until_its_box_is_gone(
    home: &dyn Home,
) {
    let store = home.open().await;
    let (first, second) = (record("web"), record("web"));
    let mut create = operation(OperationKind::Create, &first);
    store.begin(&create, std::slice::from_ref(&first)).await.unwrap();
    let again = operation(OperationKind::Create, &second);
    let refused = store.begin(&again, std::slice::from_ref(&second)).await.unwrap_err();
    assert_eq!(refused.code(), "name-taken");
    // Nothing of the refused transaction is left.
    assert_eq!(store.unfinished().await.unwrap(), [create.clone()]);

    let elsewhere = BoxRecord { engine: "lab".parse().unwrap(), ..record("web") };
    let owned = BoxRecord { owner: Some(UserId::new()), ..record("web") };
    let others = BoxRecord { owner: Some(UserId::new()), ..record("web") };
    let fine = operation(OperationKind::Create, &owned);
    store.begin(&fine, &[elsewhere, owned, others]).await.unwrap();

    create.outcome = Some(Outcome::Failed);
    store.finish(&create, &[], &[first.id], Durability::Process).await.unwrap();
    store.begin(&again, &[second]).await.unwrap();
}

pub(super) async fn callers_see_boxes_of_their_own_by_name(home: &dyn Home) {
    let store = home.open().await;
    let (one, other) = (UserId::new(), UserId::new());
    let (local, lab) = (EngineName::local(), "lab".parse().unwrap());
    let hosts = record("web");
    let ones = BoxRecord { owner: Some(one), ..record("web") };
    let in_lab = BoxRecord { owner: Some(one), engine: EngineName::clone(&lab), ..record("web") };
    let made = [hosts.clone(), ones.clone(), in_lab.clone(), record("db")];
    store.begin(&operation(OperationKind::Create, &hosts), &made).await.unwrap();

    let name = &hosts.spec.name.clone();
    let found = async |caller, engine| store.boxes_by_name(caller, engine, name).await.unwrap();
    assert_eq!(found(Caller::Host, None).await, [in_lab.clone(), hosts.clone(), ones.clone()]);
    assert_eq!(found(Caller::Host, Some(&local)).await, [hosts, ones.clone()]);
    assert_eq!(found(Caller::User(one), None).await, [in_lab.clone(), ones]);
    assert_eq!(found(Caller::User(one), Some(&lab)).await, [in_lab]);
    assert!(found(Caller::User(other), None).await.is_empty());
}

pub(super) async fn an_idempotency_key_holds_for_a_day(home: &dyn Home) {
    let store = home.open().await;
    let mut first = operation(OperationKind::Delete, &record("a"));
    first.key = Some("k".to_owned());
    store.begin(&first, &[]).await.unwrap();
    let mut second = Operation { id: OperationId::new(), ..first.clone() };
    second.started = at(first.started.millis() + operations::KEY_KEPT - 1);
    assert_eq!(store.begin(&second, &[]).await.unwrap_err().code(), "key-taken");
    let before = at(first.started.millis() - 1);
    assert_eq!(store.by_key("k", before).await.unwrap(), Some(first.clone()));
    assert_eq!(store.by_key("k", first.started).await.unwrap(), None);

    second.started = at(first.started.millis() + operations::KEY_KEPT);
    store.begin(&second, &[]).await.unwrap();
    assert_eq!(store.by_key("k", before).await.unwrap(), Some(second));
    let left = store.operation(first.id).await.unwrap();
    assert_eq!(left, Some(Operation { key: None, ..first }), "the journal loses nothing else");
}

pub(super) async fn of_two_with_the_same_key_at_the_same_time_one_is_refused(home: &dyn Home) {
    let stores = [home.open().await, home.open().await];
    for round in 0..20 {
        let begun = join_all(stores.iter().map(|store| async move {
            let mut create = operation(OperationKind::Delete, &record("a"));
            create.key = Some(format!("key-{round}"));
            store.begin(&create, &[]).await.map_err(|error| error.code())
        }))
        .await;
        let refused: Vec<_> = begun.iter().filter_map(|begun| begun.err()).collect();
        assert_eq!(refused, ["key-taken"]);
    }
}

pub(super) async fn operations_of_long_ago_are_forgotten(home: &dyn Home) {
    const WEEK: i64 = 7 * operations::KEY_KEPT;
    let store = home.open().await;
    let mut old = operation(OperationKind::Delete, &record("a"));
    let cut_off = operation(OperationKind::Delete, &record("b"));
    store.begin(&old, &[]).await.unwrap();
    store.begin(&cut_off, &[]).await.unwrap();
    old.outcome = Some(Outcome::Done);
    store.finish(&old, &[], &[], Durability::Process).await.unwrap();
    assert_eq!(store.operation(old.id).await.unwrap(), Some(old.clone()));

    let mut new = operation(OperationKind::Delete, &record("c"));
    new.started = at(old.started.millis() + WEEK + 1);
    new.outcome = Some(Outcome::Done);
    store.begin(&new, &[]).await.unwrap();
    store.finish(&new, &[], &[], Durability::Process).await.unwrap();
    assert_eq!(store.operation(old.id).await.unwrap(), None);
    assert_eq!(store.unfinished().await.unwrap(), [cut_off], "what was cut off is kept");
}

pub(super) async fn snapshots_are_kept_by_box_and_go_with_it(home: &dyn Home) {
    let store = home.open().await;
    let made = record("web");
    let mut create = operation(OperationKind::Create, &made);
    store.begin(&create, std::slice::from_ref(&made)).await.unwrap();
    let saved = |name: &str| SnapshotInfo {
        id: SnapshotId::new(),
        name: name.parse().unwrap(),
        box_id: made.id,
        created: at(1),
    };
    let (before, after) = (saved("before"), saved("after"));
    store.add_snapshot(&before).await.unwrap();
    store.add_snapshot(&after).await.unwrap();
    assert_eq!(store.add_snapshot(&saved("after")).await.unwrap_err().code(), "snapshot-taken");
    assert_eq!(store.snapshots(made.id).await.unwrap(), [before.clone(), after.clone()]);
    store.remove_snapshot(before.id).await.unwrap();
    store.remove_snapshot(before.id).await.unwrap();
    assert_eq!(store.snapshot(made.id, &before.name).await.unwrap(), None);
    assert_eq!(store.snapshot(made.id, &after.name).await.unwrap(), Some(after));

    create.outcome = Some(Outcome::Failed);
    store.finish(&create, &[], &[made.id], Durability::Process).await.unwrap();
    assert!(store.snapshots(made.id).await.unwrap().is_empty());
}

pub(super) async fn facts_are_kept(home: &dyn Home) {
    let store = home.open().await;
    assert_eq!(store.fact("boot").await.unwrap(), None);
    store.set_fact("boot", "one").await.unwrap();
    store.set_fact("boot", "two").await.unwrap();
    assert_eq!(home.open().await.fact("boot").await.unwrap().as_deref(), Some("two"));
}

pub(super) async fn a_transaction_that_fails_leaves_nothing(home: &dyn Home) {
    let store = home.open().await;
    let (one, two) = (record("one"), record("two"));
    let create = operation(OperationKind::Create, &one);
    store.begin(&create, &[one.clone(), two.clone()]).await.unwrap();

    let mut moved = one.clone();
    moved.state = BoxState::Running;
    let mut clash = two.clone();
    clash.spec.name = one.spec.name.clone();
    let mut done = create.clone();
    done.outcome = Some(Outcome::Done);
    let refused = store.finish(&done, &[moved, clash], &[], Durability::Disk).await.unwrap_err();
    assert_eq!(refused.code(), "name-taken");
    assert_eq!(store.boxes().await.unwrap(), [one.clone(), two]);
    assert_eq!(store.unfinished().await.unwrap(), [create]);

    // And the connection is as good as before.
    let three = record("three");
    store.begin(&operation(OperationKind::Create, &three), &[three]).await.unwrap();
    assert_eq!(store.boxes().await.unwrap().len(), 3);
}

pub(super) async fn several_connections_write_at_once(home: &dyn Home) {
    join_all((0..4).map(|writer| async move {
        let store = home.open().await;
        let writing = tokio::spawn(async move {
            for n in 0..25 {
                let made = record(&format!("box-{writer}-{n}"));
                let mut create = operation(OperationKind::Create, &made);
                store.begin(&create, std::slice::from_ref(&made)).await.unwrap();
                create.outcome = Some(Outcome::Done);
                store.finish(&create, &[made], &[], Durability::Process).await.unwrap();
            }
        });
        writing.await.unwrap();
    }))
    .await;
    assert_eq!(home.open().await.boxes().await.unwrap().len(), 100);
}

pub(super) async fn several_connections_change_the_same_boxes_in_any_order(home: &dyn Home) {
    let made: Vec<_> = (0..8).map(|n| record(&format!("box-{n}"))).collect();
    let create = operation(OperationKind::Create, &made[0]);
    home.open().await.begin(&create, &made).await.unwrap();
    join_all((0..4).map(|writer| {
        let mut mine = made.clone();
        if writer % 2 == 1 {
            mine.reverse();
        }
        async move {
            let store = home.open().await;
            let writing = tokio::spawn(async move {
                for _ in 0..25 {
                    store.update(&mine).await.unwrap();
                }
            });
            writing.await.unwrap();
        }
    }))
    .await;
    assert_eq!(home.open().await.boxes().await.unwrap(), made);
}

pub(super) async fn odd_texts_are_kept(home: &dyn Home) {
    let store = home.open().await;
    for text in ["", "'; DROP TABLE boxes; --", "$1 ?1 now_ms()", "äöü 箱 🐑", "two\nlines\t\\"]
    {
        store.set_fact("odd", text).await.unwrap();
        assert_eq!(store.fact("odd").await.unwrap().as_deref(), Some(text));
    }
}

pub(super) async fn a_state_is_corrected_where_nobody_changed_the_box_meanwhile(home: &dyn Home) {
    let store = home.open().await;
    let found = record("web");
    store
        .begin(&operation(OperationKind::Create, &found), std::slice::from_ref(&found))
        .await
        .unwrap();
    let mut renamed = found.clone();
    renamed.spec.name = "site".parse().unwrap();
    store.update(std::slice::from_ref(&renamed)).await.unwrap();
    let mut truth = found.clone();
    truth.state = BoxState::Stopped;
    truth.failure = Some("it fell over".to_owned());
    assert!(store.correct(&found, &truth).await.unwrap());
    // Nothing but where it stands.
    let now = store.box_by_id(found.id).await.unwrap().unwrap();
    assert_eq!(now, BoxRecord { spec: renamed.spec.clone(), ..truth.clone() });

    assert!(!store.correct(&found, &truth).await.unwrap(), "it stands elsewhere by now");
    let changed = BoxRecord { last_operation: Some(OperationId::new()), ..now.clone() };
    store.update(std::slice::from_ref(&changed)).await.unwrap();
    assert!(!store.correct(&now, &truth).await.unwrap(), "somebody did something");
    assert!(store.correct(&changed, &truth).await.unwrap());
}

pub(super) async fn whoever_changes_what_is_gone_is_told(home: &dyn Home) {
    let store = home.open().await;
    let (stays, goes) = (record("stays"), record("goes"));
    let both = [stays.clone(), goes.clone()];
    let mut create = operation(OperationKind::Fork, &stays);
    store.begin(&create, &both).await.unwrap();
    let mut delete = operation(OperationKind::Delete, &goes);
    store.begin(&delete, &[]).await.unwrap();
    delete.outcome = Some(Outcome::Done);
    store.finish(&delete, &[], &[goes.id], Durability::Process).await.unwrap();
    create.outcome = Some(Outcome::Done);
    let gone = store.finish(&create, &both, &[], Durability::Process).await.unwrap();
    assert_eq!(gone, [goes.id]);
    assert_eq!(store.boxes().await.unwrap(), [stays]);
}
