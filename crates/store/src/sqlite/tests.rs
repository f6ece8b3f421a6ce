use std::sync::Arc;

use boxherd_model::{BoxSpec, StopReason};

use super::*;
use crate::{Details, OperationKind, Outcome};

fn record(name: &str) -> BoxRecord {
    BoxRecord {
        id: BoxId::new(),
        engine: EngineName::local(),
        spec: BoxSpec::new(name.parse().unwrap()),
        state: BoxState::Pending,
        reason: None,
        failure: None,
        created: Timestamp::from_millis(1),
        maker: None,
        last_operation: None,
        details: Details::default(),
    }
}

fn operation(kind: OperationKind, of: &BoxRecord) -> Operation {
    Operation {
        id: OperationId::new(),
        kind,
        boxes: vec![of.id],
        session: "s".to_owned(),
        key: None,
        started: Timestamp::from_millis(DAY * 30),
        outcome: None,
    }
}

fn opened() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("herd.db")).unwrap();
    (folder, store)
}

#[tokio::test]
async fn what_was_written_is_read_back_whole() {
    let (_folder, store) = opened();
    let mut made = record("web");
    made.state = BoxState::Stopped;
    made.reason = Some(StopReason::Exited { code: 3 });
    made.maker = Some("session".to_owned());
    made.details.notes.push("no bridge".to_owned());
    let mut create = operation(OperationKind::Create, &made);
    create.key = Some("k".to_owned());
    store.begin(&create, std::slice::from_ref(&made)).await.unwrap();

    assert_eq!(store.box_by_id(made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(store.unfinished().await.unwrap(), [create.clone()]);
    assert_eq!(store.doomed().await.unwrap(), [made.clone()]);
    let found = store.boxes_by_name(Some(&EngineName::local()), &made.spec.name).await.unwrap();
    assert_eq!(found, [made.clone()]);
    let elsewhere = "lab".parse().unwrap();
    assert!(store.boxes_by_name(Some(&elsewhere), &made.spec.name).await.unwrap().is_empty());

    let mut changed = made.clone();
    changed.state = BoxState::Running;
    changed.spec.name = "site".parse().unwrap();
    store.update(std::slice::from_ref(&changed)).await.unwrap();
    assert_eq!(store.boxes().await.unwrap(), [changed]);

    create.outcome = Some(Outcome::Done);
    store.finish(&create, &[], &[made.id], Durability::Disk).await.unwrap();
    assert!(store.unfinished().await.unwrap().is_empty());
    assert!(store.boxes().await.unwrap().is_empty());
    assert_eq!(store.operation(create.id).await.unwrap(), Some(create));
}

#[tokio::test]
async fn a_name_is_taken_once_per_engine_until_its_box_is_gone() {
    let (_folder, store) = opened();
    let (first, second) = (record("web"), record("web"));
    let mut create = operation(OperationKind::Create, &first);
    store.begin(&create, std::slice::from_ref(&first)).await.unwrap();
    let again = operation(OperationKind::Create, &second);
    let refused = store.begin(&again, std::slice::from_ref(&second)).await.unwrap_err();
    assert_eq!(refused.code(), "name-taken");
    // Nothing of the refused transaction is left.
    assert_eq!(store.unfinished().await.unwrap(), [create.clone()]);

    create.outcome = Some(Outcome::Failed);
    store.finish(&create, &[], &[first.id], Durability::Process).await.unwrap();
    store.begin(&again, &[second]).await.unwrap();
}

#[tokio::test]
async fn an_idempotency_key_holds_for_a_day() {
    let (_folder, store) = opened();
    let mut first = operation(OperationKind::Delete, &record("a"));
    first.key = Some("k".to_owned());
    store.begin(&first, &[]).await.unwrap();
    let mut second = Operation { id: OperationId::new(), ..first.clone() };
    assert_eq!(store.begin(&second, &[]).await.unwrap_err().code(), "key-taken");
    second.started = Timestamp::from_millis(first.started.millis() + DAY + 1);
    store.begin(&second, &[]).await.unwrap();
}

#[tokio::test]
async fn a_later_release_s_database_is_refused_by_name() {
    let (folder, store) = opened();
    store.connection.lock().pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteStore::open(&folder.path().join("herd.db")).unwrap_err();
    assert!(refused.to_string().contains("has version 99"), "{refused}");
}

#[tokio::test]
async fn what_is_durable_survives_a_copy_of_the_files_at_that_instant() {
    let (folder, store) = opened();
    let made = record("web");
    let mut delete = operation(OperationKind::Delete, &made);
    store.begin(&delete, std::slice::from_ref(&made)).await.unwrap();
    delete.outcome = Some(Outcome::Done);
    store.finish(&delete, &[], &[made.id], Durability::Disk).await.unwrap();

    let copy = tempfile::tempdir().unwrap();
    for name in ["herd.db", "herd.db-wal"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let copied = SqliteStore::open(&copy.path().join("herd.db")).unwrap();
    assert!(copied.boxes().await.unwrap().is_empty());
    assert_eq!(copied.operation(delete.id).await.unwrap(), Some(delete));
}

#[tokio::test]
async fn a_durable_write_leaves_the_next_one_quick() {
    let (_folder, store) = opened();
    let snapshot = SnapshotInfo {
        id: SnapshotId::new(),
        name: "before".parse().unwrap(),
        box_id: BoxId::new(),
        created: Timestamp::from_millis(1),
    };
    store.add_snapshot(&snapshot).await.unwrap();
    assert_eq!(store.add_snapshot(&snapshot).await.unwrap_err().code(), "snapshot-taken");
    let mode: i64 =
        store.connection.lock().pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
    assert_eq!(mode, 1, "NORMAL again, after success and after failure");
    let found = store.snapshots(snapshot.box_id).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&snapshot));
    store.remove_snapshot(snapshot.id).await.unwrap();
    assert_eq!(store.snapshot(snapshot.box_id, &snapshot.name).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_connections_share_one_folder() {
    let (folder, _store) = opened();
    let path = Arc::new(folder.path().join("herd.db"));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let path = Arc::clone(&path);
            tokio::spawn(async move {
                let store = SqliteStore::open(&path).unwrap();
                for n in 0..25 {
                    let made = record(&format!("box-{writer}-{n}"));
                    let create = operation(OperationKind::Create, &made);
                    store.begin(&create, &[made]).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.boxes().await.unwrap().len(), 100);
}
