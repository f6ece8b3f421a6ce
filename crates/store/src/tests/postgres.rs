//! The suite on a real Postgres, and what is different about it: connections that are lost, servers
//! that die, disks that are full.

mod proxy;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::{Accounts as _, PostgresStore, StoreError};
use boxherd_testkit::PostgresServer as Server;
use proxy::{Cut, Proxy};

/// One of several databases on a server: a schema of its own.
struct Schema<'s> {
    server: &'s Server,
    name: &'static str,
}

impl Home for Schema<'_> {
    fn open(&self) -> Opening<'_> {
        let url = self.server.url(self.name);
        Box::pin(
            async move { Arc::new(PostgresStore::connect(&url).await.unwrap()) as Arc<dyn Store> },
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_holds_on_postgres() {
    let Some(server) = Server::start_or_skip("the_suite_holds_on_postgres").await else { return };
    let mut failed = Vec::new();
    for (index, (name, case)) in CASES.iter().enumerate() {
        let schema = server.schema(&format!("case_{index}")).await;
        let home = Schema { server: &server, name: schema.leak() };
        eprintln!("case {name}");
        if AssertUnwindSafe(case(&home)).catch_unwind().await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_start_at_once_make_the_tables_once() {
    const TEST: &str = "servers_that_start_at_once_make_the_tables_once";
    let Some(server) = Server::start_or_skip(TEST).await else { return };
    let url = &server.url("public");
    let started = join_all((0..8).map(|_| async move { PostgresStore::connect(url).await })).await;
    for store in started {
        assert!(store.unwrap().boxes().await.unwrap().is_empty());
    }
    server.run("UPDATE boxherd_version SET version = 99").await;
    let refused = PostgresStore::connect(url).await.unwrap_err();
    assert_eq!(refused.code(), "store-too-new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_died_is_said_to_be_gone_and_is_used_again_when_it_is_back() {
    const TEST: &str = "a_server_that_died_is_said_to_be_gone";
    let Some(mut server) = Server::start_or_skip(TEST).await else { return };
    let url = server.url("public");
    let store = PostgresStore::connect(&url).await.unwrap();
    let made = record("web");
    store
        .begin(&operation(OperationKind::Create, &made), std::slice::from_ref(&made))
        .await
        .unwrap();
    // On disk, and with it all that was written before.
    store.grant(UserId::new(), &"local".parse().unwrap()).await.unwrap();

    server.kill();
    // The process of a session notices a moment later that its parent is dead.
    let lost = loop {
        if let Err(lost) = store.boxes().await {
            break lost;
        }
    };
    assert_eq!(lost.code(), "store-gone", "{lost:?}");
    assert!(lost.hint().is_some());
    let next = record("next");
    let create = operation(OperationKind::Create, &next);
    let lost = store.begin(&create, std::slice::from_ref(&next)).await.unwrap_err();
    assert_eq!(lost.code(), "store-gone", "{lost:?}");
    assert_eq!(PostgresStore::connect(&url).await.unwrap_err().code(), "store-gone");

    server.start().await;
    assert_eq!(store.boxes().await.unwrap(), std::slice::from_ref(&made));
    store.begin(&create, std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(store.boxes().await.unwrap(), [next, made]);
}

/// Connections are cut at random while several write. A write that succeeded is there; one that
/// failed is not, so that it can be done again, which would be refused if it had been done before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cut_connections_lose_nothing_and_nothing_is_done_twice() {
    const TEST: &str = "cut_connections_lose_nothing_and_nothing_is_done_twice";
    let Some(server) = Server::start_or_skip(TEST).await else { return };
    let store = Arc::new(PostgresStore::connect(&server.url("public")).await.unwrap());
    let mut writers: Vec<_> = (0..4).map(|n| tokio::spawn(write(Arc::clone(&store), n))).collect();
    let mut cuts = 0;
    while writers.iter().any(|writer| !writer.is_finished()) {
        server.cut().await;
        cuts += 1;
    }
    assert!(cuts > 10, "only {cuts} cuts: the writers were done too early");
    for writer in writers.drain(..) {
        writer.await.unwrap();
    }
    assert_eq!(store.boxes().await.unwrap().len(), 4 * BOXES);
    assert!(store.unfinished().await.unwrap().is_empty());
}

/// A transaction that the server gives up, because it and another one wait for each other, is tried
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transaction_that_is_given_up_for_another_is_tried_again() {
    const TEST: &str = "a_transaction_that_is_given_up_for_another_is_tried_again";
    let Some(server) = Server::start_or_skip(TEST).await else { return };
    let (other, watch) = (server.client("public").await, server.client("public").await);
    // Whoever looks first is given up: the store looks 3 s after it began to wait.
    other.batch_execute("SET deadlock_timeout TO '1h'").await.unwrap();
    server.run("ALTER ROLE boxherd SET deadlock_timeout TO '3s'").await;
    let store = Arc::new(PostgresStore::connect(&server.url("public")).await.unwrap());
    let made = vec![record("one"), record("two")];
    store.begin(&operation(OperationKind::Create, &made[0]), &made).await.unwrap();

    let fail = |name| format!("UPDATE boxes SET failure = 'x' WHERE name = '{name}'");
    other.batch_execute(&format!("BEGIN; {}", fail("two"))).await.unwrap();
    let writer = tokio::spawn({
        let (store, made) = (Arc::clone(&store), made.clone());
        async move { store.update(&made).await }
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    while watch.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
    other.batch_execute(&format!("{}; COMMIT", fail("one"))).await.unwrap();
    writer.await.unwrap().unwrap();
    assert_eq!(store.boxes().await.unwrap(), made, "the store's transaction is the later one");
}

const BOXES: usize = 100;

async fn write(store: Arc<PostgresStore>, writer: usize) {
    for n in 0..BOXES {
        let made = record(&format!("box-{writer}-{n}"));
        let mut create = operation(OperationKind::Create, &made);
        create.key = Some(made.spec.name.to_string());
        until_it_is_there(|| store.begin(&create, std::slice::from_ref(&made))).await;
        create.outcome = Some(crate::Outcome::Done);
        let durability = crate::Durability::Process;
        until_it_is_there(|| store.finish(&create, &[], &[], durability)).await;
    }
}

async fn until_it_is_there<T, F>(mut write: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match write().await {
            Err(StoreError::Gone { .. }) => {}
            done => return done.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_is_spoken_to_by_tls_and_its_name_is_looked_at() {
    const TEST: &str = "a_server_is_spoken_to_by_tls_and_its_name_is_looked_at";
    if !boxherd_testkit::programs_or_skip(TEST, &["openssl"]) {
        return;
    }
    let Some(mut server) = Server::start_or_skip(TEST).await else { return };
    let certificate = server.serve_tls().await;
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();

    let url = server.tls_url("db.test");
    let store = PostgresStore::connect_trusting(&url, trusted.clone()).await.unwrap();
    assert!(store.boxes().await.unwrap().is_empty());
    let speaks = "SELECT count(*) FROM pg_stat_ssl WHERE ssl";
    let client = server.client("public").await;
    assert_eq!(client.query_one(speaks, &[]).await.unwrap().get::<_, i64>(0), 1);

    let strange = PostgresStore::connect_trusting(&url, RootCertStore::empty()).await.unwrap_err();
    assert_eq!(strange.code(), "store-gone", "{strange:?}");
    let url = server.tls_url("other.test");
    let other = PostgresStore::connect_trusting(&url, trusted).await.unwrap_err();
    assert_eq!(other.code(), "store-gone", "{other:?}");
}

/// A commit whose answer is lost is done once, and so is one that never arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_is_cut_is_done_once() {
    const TEST: &str = "a_commit_that_is_cut_is_done_once";
    let Some(server) = Server::start_or_skip(TEST).await else { return };
    let mut made = Vec::new();
    for (cut, name) in [(Cut::Answer, "answer"), (Cut::Question, "question")] {
        let proxy = Proxy::new(&server, cut);
        let store = PostgresStore::connect(&proxy.url()).await.unwrap();
        proxy.arm();
        made.push(record(name));
        let create = operation(OperationKind::Create, &made[0]);
        store.begin(&create, &made[made.len() - 1..]).await.unwrap();
        assert!(proxy.has_cut());
        assert_eq!(store.boxes().await.unwrap(), made);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_lost_at_a_commit_leaves_the_caller_unsure() {
    const TEST: &str = "a_server_that_is_lost_at_a_commit_leaves_the_caller_unsure";
    let Some(server) = Server::start_or_skip(TEST).await else { return };
    let proxy = Proxy::new(&server, Cut::Everything);
    let store = PostgresStore::connect(&proxy.url()).await.unwrap();
    proxy.arm();
    let made = record("web");
    let create = operation(OperationKind::Create, &made);
    let unsure = store.begin(&create, std::slice::from_ref(&made)).await.unwrap_err();
    assert_eq!(unsure.code(), "store-unsure", "{unsure:?}");
    assert!(unsure.hint().is_some());
}

/// A server that stands still in the middle of a transaction holds its rows for a while only.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_stands_still_in_a_transaction_does_not_stop_the_others() {
    const TEST: &str = "whoever_stands_still_in_a_transaction_does_not_stop_the_others";
    let Some(server) = Server::start_or_skip(TEST).await else { return };
    let store = PostgresStore::connect(&server.url("public")).await.unwrap();
    let made = record("web");
    store
        .begin(&operation(OperationKind::Create, &made), std::slice::from_ref(&made))
        .await
        .unwrap();
    let still = server.client("public").await;
    let session = crate::postgres::session();
    still
        .batch_execute(&format!("{session}; BEGIN; UPDATE boxes SET failure = 'x'"))
        .await
        .unwrap();
    store.update(std::slice::from_ref(&made)).await.unwrap();
    assert_eq!(store.boxes().await.unwrap(), [made]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_of_the_server_is_named_and_nothing_is_lost() {
    const TEST: &str = "a_full_disk_of_the_server_is_named_and_nothing_is_lost";
    if !boxherd_testkit::root_or_skip(TEST) {
        return;
    }
    let Some(server) = Server::start_or_skip(TEST).await else { return };
    server.small_tablespace().await;
    let store = PostgresStore::connect(&server.url("public")).await.unwrap();
    let mut made = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let full = loop {
        let one =
            BoxRecord { failure: Some(noise(100_000)), ..record(&format!("box-{}", made.len())) };
        let create = operation(OperationKind::Create, &one);
        match store.begin(&create, std::slice::from_ref(&one)).await {
            Ok(()) => made.push(one),
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline, "the tablespace does not fill");
    };
    assert_eq!(full.code(), "store-full", "{full:?}");
    assert_eq!(store.boxes().await.unwrap().len(), made.len());
    assert_eq!(store.unfinished().await.unwrap().len(), made.len(), "the refused one left nothing");
}

/// Text that does not compress.
fn noise(length: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 94) as u8)
    };
    (0..length).map(|_| letter()).collect()
}
