//! What is different about SQLite: files, migrations, two durability classes.

use std::path::PathBuf;

use boxherd_model::{SnapshotId, SnapshotInfo};
use rusqlite::Connection;

use super::*;
use crate::{Durability, Outcome, SqliteStore, migrations};

/// A folder with a database.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("herd.db")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.file()).unwrap()
    }
}

impl Home for Folder {
    fn open(&self) -> Opening<'_> {
        Box::pin(async { Arc::new(self.store()) as Arc<dyn Store> })
    }
}

#[tokio::test]
async fn a_later_release_s_database_is_refused_by_name() {
    let folder = Folder::new();
    drop(folder.store());
    Connection::open(folder.file()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteStore::open(&folder.file()).unwrap_err();
    assert!(refused.to_string().contains("herd.db` has version 99"), "{refused}");
}

/// Boxes, snapshots and keys of the first release are there in this one, and belong to the host.
#[tokio::test]
async fn the_database_of_an_earlier_release_is_brought_up_to_date() {
    let folder = Folder::new();
    let made = record("web");
    let mut early = operation(OperationKind::Create, &made);
    early.key = Some("k".to_owned());
    let late = Operation { id: OperationId::new(), ..early.clone() };
    let connection = Connection::open(folder.file()).unwrap();
    migrations::as_of(1).for_each(|migration| connection.execute_batch(migration).unwrap());
    connection.pragma_update(None, "user_version", 1).unwrap();
    let spec = serde_json::to_string(&made.spec).unwrap();
    connection
        .execute(
            "INSERT INTO boxes VALUES (?1, 'local', 'web', ?2, 'pending', NULL, NULL, 1, NULL, \
             NULL, '{}')",
            (made.id.to_string(), spec),
        )
        .unwrap();
    for operation in [&early, &late] {
        connection
            .execute(
                "INSERT INTO operations VALUES (?1, '\"create\"', ?2, 's', 'k', ?3, NULL)",
                (
                    operation.id.to_string(),
                    serde_json::to_string(&operation.boxes).unwrap(),
                    operation.started.millis(),
                ),
            )
            .unwrap();
    }
    drop(connection);

    let store = folder.store();
    assert_eq!(store.boxes().await.unwrap(), [made]);
    assert_eq!(store.by_key("k", at(0)).await.unwrap(), Some(late.clone()), "the latest has it");
    early.key = None;
    assert_eq!(store.unfinished().await.unwrap(), [early, late]);
    drop(store);
    assert_eq!(folder.store().boxes().await.unwrap().len(), 1, "and is opened again as it is");
}

#[tokio::test]
async fn what_is_durable_survives_a_copy_of_the_files_at_that_instant() {
    let (folder, copy) = (Folder::new(), Folder::new());
    let store = folder.store();
    let made = record("web");
    let mut delete = operation(OperationKind::Delete, &made);
    store.begin(&delete, std::slice::from_ref(&made)).await.unwrap();
    delete.outcome = Some(Outcome::Done);
    store.finish(&delete, &[], &[made.id], Durability::Disk).await.unwrap();

    for name in ["herd.db", "herd.db-wal"] {
        std::fs::copy(folder.0.path().join(name), copy.0.path().join(name)).unwrap();
    }
    let copied = copy.store();
    assert!(copied.boxes().await.unwrap().is_empty());
    assert_eq!(copied.operation(delete.id).await.unwrap(), Some(delete));
}

#[tokio::test]
async fn a_durable_write_leaves_the_next_one_quick() {
    let folder = Folder::new();
    let store = folder.store();
    let snapshot = SnapshotInfo {
        id: SnapshotId::new(),
        name: "before".parse().unwrap(),
        box_id: BoxId::new(),
        created: at(1),
    };
    store.add_snapshot(&snapshot).await.unwrap();
    assert_eq!(store.add_snapshot(&snapshot).await.unwrap_err().code(), "snapshot-taken");
    let mode = store.database.pragma("synchronous");
    assert_eq!(mode, 1, "NORMAL again, after success and after failure");
}

/// Keeps everybody else from writing.
fn lock(folder: &Folder) -> Connection {
    let connection = Connection::open(folder.file()).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    connection
}

/// All in one thread: whoever waited in it would wait for ever.
#[tokio::test]
async fn whoever_waits_for_a_lock_keeps_no_thread_from_others() {
    let folder = Folder::new();
    let store = folder.store();
    let held = lock(&folder);
    let made = record("web");
    let create = operation(OperationKind::Create, &made);
    let boxes = [made];
    let mut begin = std::pin::pin!(store.begin(&create, &boxes));
    assert!(futures_util::poll!(&mut begin).is_pending());
    assert!(store.boxes().await.unwrap().is_empty(), "readers do not wait");
    held.execute_batch("COMMIT").unwrap();
    begin.await.unwrap();
    assert_eq!(store.boxes().await.unwrap(), boxes);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_not_waited_for_for_ever() {
    let folder = Folder::new();
    let store = folder.store();
    store.check().await.unwrap();
    let held = lock(&folder);
    assert_eq!(store.set_fact("a", "b").await.unwrap_err().code(), "store-busy");
    assert_eq!(store.check().await.unwrap_err().code(), "store-busy");
    drop(held);
    store.check().await.unwrap();
    assert_eq!(store.fact("a").await.unwrap(), None);
}

#[tokio::test]
async fn a_file_that_is_not_there_any_more_is_not_written_to() {
    let folder = Folder::new();
    let store = folder.store();
    let aside = folder.0.path().join("aside");
    std::fs::rename(folder.file(), &aside).unwrap();
    let gone = store.set_fact("a", "b").await.unwrap_err();
    let cause = std::error::Error::source(&gone).unwrap().to_string();
    assert_eq!(gone.code(), "store-gone");
    assert!(cause.contains("herd.db: No such file"), "{cause}");
    assert_eq!(store.boxes().await.unwrap_err().code(), "store-gone");
    assert_eq!(store.check().await.unwrap_err().code(), "store-gone");

    std::fs::copy(&aside, folder.file()).unwrap();
    let replaced = store.set_fact("a", "b").await.unwrap_err();
    let cause = std::error::Error::source(&replaced).unwrap().to_string();
    assert!(cause.contains("it was replaced"), "{cause}");

    std::fs::rename(&aside, folder.file()).unwrap();
    store.set_fact("a", "b").await.unwrap();
}

/// A database that may not grow stands for a disk that is full: SQLite says the same of both.
#[tokio::test]
async fn a_full_disk_is_named_and_nothing_is_lost() {
    let folder = Folder::new();
    let store = folder.store();
    let pages = store.database.pragma("page_count");
    store.database.set_pragma("max_page_count", pages + 4);
    let mut full = None;
    let mut made = Vec::new();
    for n in 0..1000 {
        let one = record(&format!("box-{n}"));
        let create = operation(OperationKind::Create, &one);
        match store.begin(&create, std::slice::from_ref(&one)).await {
            Ok(()) => made.push(one),
            Err(error) => {
                full = Some(error);
                break;
            }
        }
    }
    let full = full.expect("a thousand boxes do not fit into four pages");
    assert_eq!(full.code(), "store-full", "{full:?}");
    assert!(full.hint().is_some_and(|hint| hint.starts_with("free space")), "{full}");
    assert_eq!(store.boxes().await.unwrap().len(), made.len(), "what was written is there");

    store.database.set_pragma("max_page_count", pages + 1000);
    let next = record("next");
    store.begin(&operation(OperationKind::Create, &next), &[next]).await.unwrap();
}
