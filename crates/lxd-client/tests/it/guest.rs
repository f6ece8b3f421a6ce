//! Guests of tests: each with a name of its own, deleted when the test ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use boxherd_lxd_client::{Client, Instance, NewInstance, Remote, Source};
use boxherd_testkit::{LxdLab, incus_lab_or_skip, lxd_lab_or_skip};

/// A client of the lab over its unix socket.
pub(crate) fn local(lab: &LxdLab) -> Client {
    Client::new(&Remote::unix(&lab.socket)).expect("a socket needs no certificate")
}

/// A name that no other test has.
pub(crate) fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What the instance `name` of the image `tiny` is made from. It has no network: the freezer of
/// cgroup v1 waits for ever when it meets a vfork, and what asks for an address does those.
pub(crate) fn tiny(name: &str) -> NewInstance {
    let none = BTreeMap::from([("type".to_owned(), "none".to_owned())]);
    NewInstance {
        name: name.to_owned(),
        source: Source::alias("tiny"),
        devices: BTreeMap::from([("eth0".to_owned(), none)]),
        ..Default::default()
    }
}

/// No test may take longer.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs `test` with a client of each lab: LXD's and Incus's.
pub(crate) fn with_lab(name: &str, test: impl AsyncFn(Client, LxdLab)) {
    let labs = [lxd_lab_or_skip(name), incus_lab_or_skip(name)];
    for lab in labs.into_iter().flatten() {
        eprintln!("with {}", lab.kind);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let test = test(local(&lab), lab);
        runtime.block_on(async { tokio::time::timeout(LIMIT, test).await }).expect("in time");
    }
}

/// Runs `test` with a running guest, which is deleted when it ends, also by a panic.
pub(crate) fn with_guest<F>(name: &str, test: impl Fn(Instance) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    with_lab(name, async |client, _| {
        let guest = client.instance(&unique("bx"));
        client.create_instance(&tiny(guest.name())).await.unwrap().wait().await.unwrap();
        let running = test(guest.clone());
        let ended = match guest.start().await {
            Ok(()) => tokio::spawn(tokio::time::timeout(LIMIT / 2, running)).await,
            Err(error) => panic!("cannot start: {error}"),
        };
        remove(&guest).await;
        match ended {
            Ok(in_time) => in_time.expect("in time"),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    });
}

/// Deletes an instance in whatever state.
pub(crate) async fn remove(guest: &Instance) {
    if guest.get().await.unwrap().status != "Stopped" {
        guest.kill().await.unwrap();
    }
    guest.delete().await.unwrap();
}

/// Waiting for what the server shows.
pub(crate) trait WaitFor {
    /// Waits until the instance has this status.
    async fn wait_for(&self, status: &str);
}

impl WaitFor for Instance {
    async fn wait_for(&self, status: &str) {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.get().await.unwrap().status != status {
            assert!(tokio::time::Instant::now() < until, "it does not become {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
