//! `boxherd bench lxd`: boxes on servers of LXD and Incus, beside what others do on the same way.
//!
//! A server is a [`Server`]: one box is made on it, and reached as its engine is (a unix socket, or TLS)
//! and, over TLS, by a proxy that makes the way longer (`delay.rs`). All contenders of one way take turns.
//! Start reading here, then `way.rs`, then `contests.rs` and
//! `transfers.rs`.

mod contests;
mod floor;
mod peers;
mod server;
mod transfers;
mod way;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use boxherd_model::BoxName;
use tokio::sync::mpsc;

pub use server::{Open, Server};

use crate::delay::Proxy;
use crate::machine::{Machine, load};
use crate::report::{Contest, Report};
use crate::run::BrokenOff;
use peers::{Home, Peers};
use way::Way;

/// What to measure on servers of LXD and Incus.
#[derive(Debug, Clone)]
pub struct LxdOptions {
    /// Rounds of what takes some round trips; what takes longer makes a tenth of it, at least 3.
    pub rounds: u32,
    /// The round-trip time of the long way.
    pub round_trip: Duration,
    /// Bytes of the large file.
    pub file_size: u64,
    /// Whether others take part.
    pub peers: bool,
    /// A Python that has `pyinfra-lxd-api-connector`.
    pub python: Option<PathBuf>,
    /// A folder for the configuration of the peers, with a copy of the key that servers know us by.
    pub scratch: PathBuf,
}

impl LxdOptions {
    /// Rounds of a contest that is slow.
    fn few(&self) -> u32 {
        (self.rounds / 10).max(3)
    }
}

/// A run on some servers.
struct Run {
    options: LxdOptions,
    skipped: Vec<String>,
    /// There are as many besides as there are folders of peers.
    busy: mpsc::Sender<()>,
}

/// Measures until it is done, or until `broken_off` is. The boxes that it made are gone when it returns;
/// should one of them resist, that is the error. Must run on a runtime with a timer and several threads.
///
/// # Errors
///
/// Whatever we could not do ourselves, or [`BrokenOff`]. What a peer cannot do is in
/// [`Report::skipped`].
pub async fn run_lxd(
    options: LxdOptions,
    servers: Vec<Arc<Server>>,
    broken_off: impl Future<Output = ()>,
) -> crate::Result {
    std::fs::create_dir_all(&options.scratch).context("cannot make the scratch folder")?;
    let mut machine = Machine::look()?;
    let (busy, mut idle) = mpsc::channel(1);
    let mut run = Run { options, skipped: Vec::new(), busy };
    let name = box_name();
    let measured = tokio::select! {
        measured = run.all(&servers, &name) => measured,
        () = broken_off => Err(BrokenOff.into()),
    };
    let mut cleaned = Ok(());
    for server in &servers {
        let removed = server.remove(&name).await;
        cleaned = cleaned.and(removed.context("cannot remove the box of this run"));
    }
    let Run { skipped, busy, .. } = run;
    drop(busy);
    // A peer that was broken off ends with its box, and its folder with it.
    idle.recv().await;
    let contests = measured?;
    cleaned?;
    machine.load_after = load()?;
    Ok(Report { machine, contests, skipped })
}

/// Makes `target`, such as `lab.example:8443`, as far away as `round_trip` says, on a port of 127.0.0.1
/// that `listening` is told, until `ended` is.
///
/// # Errors
///
/// When it cannot listen.
pub async fn delay(
    target: String,
    round_trip: Duration,
    listening: impl FnOnce(u16),
    ended: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let proxy = Proxy::start(target, round_trip).await?;
    listening(proxy.port);
    ended.await;
    Ok(())
}

/// A name that no other box has: there is one on each server.
fn box_name() -> BoxName {
    format!("bench-{}", std::process::id()).parse().expect("digits make a name")
}

impl Run {
    async fn all(
        &mut self,
        servers: &[Arc<Server>],
        name: &BoxName,
    ) -> anyhow::Result<Vec<Contest>> {
        let mut contests = Vec::new();
        for server in servers {
            let id = server.make(name).await.context("cannot make a box")?;
            let plain = Way::plain(Arc::clone(server), name.clone(), id)?;
            let far = plain.far(self.options.round_trip).await?;
            for way in [Some(&plain), far.as_ref()].into_iter().flatten() {
                contests.extend(self.one(way).await?);
            }
            server.remove(name).await.context("cannot remove the box of this run")?;
        }
        Ok(contests)
    }

    /// Everything on one way.
    async fn one(&mut self, way: &Way) -> anyhow::Result<Vec<Contest>> {
        let folder = tempfile::tempdir_in(&self.options.scratch)?;
        let home = Arc::new(Home { folder, _busy: self.busy.clone() });
        let peers = match self.options.peers {
            true => {
                let python = self.options.python.as_deref();
                Peers::gather(way, &home, python, &mut self.skipped)?
            }
            false => Peers { client: None, connector: None },
        };
        let mut found = vec![contests::exec(self, way, &peers).await?];
        found.extend(transfers::small(self, way, &peers).await?);
        for rush in [&contests::TURNS, &contests::ALL_AT_ONCE] {
            found.push(contests::rate(self, way, &peers, rush).await?);
        }
        found.extend(transfers::large(self, way).await?);
        found.push(contests::connect(self, way, &peers).await?);
        found.push(contests::first(self, way).await?);
        Ok(found)
    }
}
