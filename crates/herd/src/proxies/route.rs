//! The way of a request: from the name that it calls to a box, and to its link.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use boxherd_link::Link;
use boxherd_model::{BoxId, BoxState};
use boxherd_store::{BoxRecord, ThingKind, ThingRecord};
use tokio::net::TcpStream;

use super::labels::is_label;
use super::{Body, Host, Port, body};
use crate::{Herd, HerdError};

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The box.
    pub of: BoxId,
    /// Its port.
    pub port: Port,
    /// Whether a request needs a token of somebody who sees the box.
    pub private: bool,
}

/// Counts the changes of ways that this process makes, so that whoever keeps some knows when to ask
/// again. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes(Arc<AtomicU64>);

impl Routes {
    pub(crate) fn changed(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl Herd {
    /// Where a name leads, whoever asks.
    pub async fn route(&self, host: &Host) -> Result<Route, HerdError> {
        let none = || HerdError::NoSuch { what: "box", name: host.to_string() };
        let (record, proxy) = match host {
            Host::Box(label) => (self.labelled(label).await?, ""),
            Host::Proxy { proxy, of } => (self.labelled(of).await?, proxy.as_str()),
            Host::Domain(name) => (self.bound(name).await?, ""),
        };
        let record = record.filter(|record| record.state != BoxState::Deleting);
        let record = record.ok_or_else(none)?;
        let things = self.store.things_of(ThingKind::Proxy, record.id).await?;
        let thing = things.iter().find(|thing| thing.name == proxy);
        let body = match thing {
            Some(thing) => body(thing),
            None if proxy.is_empty() => Body::of_default(),
            None => return Err(none()),
        };
        Ok(Route { of: record.id, port: Port::from_number(body.port), private: body.private })
    }

    /// Grows with each change that this process makes to where names lead.
    #[must_use]
    pub fn routes_version(&self) -> u64 {
        self.routes.0.load(Ordering::Acquire)
    }

    /// A link to a box, which is woken when it is suspended.
    pub async fn visit(&self, id: BoxId) -> Result<Link, HerdError> {
        let record = self.store.box_by_id(id).await?;
        let record = record.filter(|record| self.caller.sees(record.owner));
        let none = || HerdError::NoSuch { what: "box", name: id.to_string() };
        let (_, link) = self.link_of(record.ok_or_else(none)?).await?;
        Ok(link)
    }

    /// A connection to a port of a box by a way that is shorter than its link, where there is one
    /// ([`Engine::dial`](boxherd_engine::Engine::dial)).
    pub async fn dial(&self, id: BoxId, port: u16) -> Result<Option<TcpStream>, HerdError> {
        let record = self.store.box_by_id(id).await?;
        match record.filter(|record| self.caller.sees(record.owner)) {
            Some(record) => Ok(self.engine_of(&record)?.dial(id, port).await),
            None => Ok(None),
        }
    }

    async fn bound(&self, domain: &str) -> Result<Option<BoxRecord>, HerdError> {
        let things = self.store.things_named(ThingKind::Domain, domain).await?;
        let of = things.iter().find(|thing: &&ThingRecord| !is_label(thing)).and_then(|t| t.of);
        match of {
            Some(of) => Ok(self.store.box_by_id(of).await?),
            None => Ok(None),
        }
    }
}
