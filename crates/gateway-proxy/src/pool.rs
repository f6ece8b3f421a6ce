//! Connections to boxes that wait for the next request.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Body;
use boxherd_model::BoxId;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::refusal::Refusal;
use crate::way::{Dialled, drive};

/// Connections that wait for each port of a box.
const MOST: usize = 128;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port of a box.
pub(crate) type Place = (BoxId, u16);

/// A connection to a port of a box.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) place: Place,
    pub(crate) sender: SendRequest<Body>,
}

#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<HashMap<Place, Vec<Idle>>>);

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl Pool {
    /// A pool whose old connections are closed for as long as it is there.
    pub(crate) fn start() -> Arc<Self> {
        let pool = Arc::new(Self::default());
        tokio::spawn(sweep(Arc::downgrade(&pool)));
        pool
    }

    /// A connection that waits.
    pub(crate) fn take(&self, place: Place) -> Option<Connection> {
        let mut all = self.0.lock();
        let idle = all.get_mut(&place)?;
        idle.retain(|idle| !idle.sender.is_closed());
        // The last one is the warmest. One that is not ready is still being put in order.
        let at = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        let sender = idle.remove(at).sender;
        Some(Connection { place, sender })
    }

    /// Keeps a connection for the next request.
    pub(crate) fn put(&self, connection: Connection) {
        let Connection { place, sender } = connection;
        if sender.is_closed() {
            return;
        }
        let mut all = self.0.lock();
        let idle = all.entry(place).or_default();
        if idle.len() < MOST {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    fn forget_old(&self) {
        let good = |idle: &Idle| !idle.sender.is_closed() && idle.since.elapsed() < PATIENCE;
        self.0.lock().retain(|_, idle| {
            idle.retain(good);
            !idle.is_empty()
        });
    }
}

async fn sweep(pool: Weak<Pool>) {
    let mut ticks = tokio::time::interval(PATIENCE / 4);
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        pool.forget_old();
    }
}

/// A new connection, over a stream to the port.
pub(crate) async fn connect(place: Place, dialled: Dialled) -> Result<Connection, Refusal> {
    let Dialled { way, end } = dialled;
    let (sender, driver) = handshake(TokioIo::new(way)).await.map_err(Refusal::Closed)?;
    tokio::spawn(drive(end, driver.with_upgrades()));
    Ok(Connection { place, sender })
}
