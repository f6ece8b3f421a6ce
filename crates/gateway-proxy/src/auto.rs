//! The port of a box that has not been set: one on which something listens.

use std::collections::HashMap;
use std::time::Duration;

use boxherd_herd::{Port, likeliest};
use boxherd_link::Link;
use boxherd_model::BoxId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::refusal::Refusal;

/// How long an answer holds.
const HOLDS: Duration = Duration::from_secs(2);
/// Boxes that are kept; more, and all are forgotten.
const MOST: usize = 10_000;

/// The ports that were found a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Ports(Mutex<HashMap<BoxId, (u16, Instant)>>);

impl Ports {
    /// The port to which a request goes.
    pub(crate) async fn find(&self, of: BoxId, port: Port, link: &Link) -> Result<u16, Refusal> {
        match port {
            Port::Fixed(port) => Ok(port.get()),
            Port::Auto => match self.kept(of) {
                Some(port) => Ok(port),
                None => self.look(of, link).await,
            },
        }
    }

    /// What was found does not answer any more.
    pub(crate) fn forget(&self, of: BoxId) {
        self.0.lock().remove(&of);
    }

    fn kept(&self, of: BoxId) -> Option<u16> {
        let kept = self.0.lock();
        let (port, since) = kept.get(&of)?;
        (since.elapsed() < HOLDS).then_some(*port)
    }

    async fn look(&self, of: BoxId, link: &Link) -> Result<u16, Refusal> {
        let listening = link.listening().await.map_err(Refusal::Link)?;
        let port = likeliest(listening.into_iter().map(|listener| listener.port));
        let port = port.ok_or(Refusal::NothingListens)?;
        let mut kept = self.0.lock();
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(of, (port, Instant::now()));
        Ok(port)
    }
}
