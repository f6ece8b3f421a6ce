//! How boxes are reached by browsers: names below the server's zone that lead to ports of boxes, and
//! domains of one's own.
//!
//! Every box has a default proxy (its name is empty), which leads to port 8000 until that is changed,
//! and as many named ones as are made. They are things of the box and go with it. [`host`] and [`port`]
//! are pure; `labels` keeps the names of boxes apart over all users; `route` finds the way of a
//! request. Nothing here knows HTTP.

mod domains;
mod host;
mod labels;
mod port;
mod route;

pub use self::domains::Domain;
pub use self::host::Host;
pub use self::port::{Port, likeliest};
pub use self::route::Route;
pub(crate) use self::route::Routes;

use boxherd_model::policy::Decision;
use boxherd_model::{Address, BoxId, BoxName, Request, ThingId};
use boxherd_store::{BoxRecord, ThingKind, ThingRecord};
use serde::{Deserialize, Serialize};

use crate::herd::decide;
use crate::{Herd, HerdError};

/// Proxies that a box may have.
pub const MOST_PROXIES: usize = 100;

/// A way to a port of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Empty for the default one.
    pub name: String,
    /// The box.
    pub of: BoxId,
    /// The box, by name.
    pub box_name: BoxName,
    /// What goes before the zone in its address: `web`, `api.web`.
    pub host: String,
    /// Where it leads.
    pub port: Port,
    /// Where it leads now, when that is known.
    pub effective: Option<u16>,
    /// Whether a request needs a token of somebody who sees the box.
    pub private: bool,
}

/// What is to be changed of a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProxyChange {
    /// Where it leads.
    pub port: Option<Port>,
    /// Whether it wants a token.
    pub private: Option<bool>,
}

/// What is kept of a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    port: u16,
    #[serde(default)]
    private: bool,
}

impl Body {
    fn of_default() -> Self {
        Self { port: Port::default().number(), private: false }
    }

    fn text(self) -> String {
        serde_json::json!({ "port": self.port, "private": self.private }).to_string()
    }
}

/// What cannot be read was written by a later release; it must not become more open than it was.
fn body(thing: &ThingRecord) -> Body {
    serde_json::from_str(&thing.body).unwrap_or_else(|error| {
        tracing::error!(%error, id = %thing.id, "what is kept of a proxy cannot be read");
        Body { private: true, ..Body::of_default() }
    })
}

/// The name of a proxy is a label of DNS, as that of a box is.
pub fn check_proxy_name(name: &str) -> Result<(), HerdError> {
    let invalid = |reason: String| HerdError::Invalid { field: "name", reason };
    match name.parse::<BoxName>() {
        Ok(_) => Ok(()),
        Err(error) => Err(invalid(error.to_string())),
    }
}

impl Herd {
    /// The proxies of a box, the default one first.
    pub async fn proxies(&self, address: &Address) -> Result<Vec<Proxy>, HerdError> {
        let record = self.find(address).await?;
        let things = self.store.things_of(ThingKind::Proxy, record.id).await?;
        let label = self.web_label(&record).await?;
        let is_default = |thing: &&ThingRecord| thing.name.is_empty();
        let default = things.iter().find(is_default).map_or_else(Body::of_default, body);
        let named = things.iter().filter(|thing| !is_default(thing));
        let all = named.map(|thing| (thing.name.as_str(), body(thing)));
        let mut proxies: Vec<_> = std::iter::once(("", default))
            .chain(all)
            .map(|(name, body)| proxy(&record, &label, name, body))
            .collect();
        self.look_for_ports(record, &mut proxies).await;
        Ok(proxies)
    }

    /// Adds a named proxy to a box.
    pub async fn add_proxy(
        &self,
        address: &Address,
        name: &str,
        port: Port,
    ) -> Result<Proxy, HerdError> {
        check_proxy_name(name)?;
        let record = self.find(address).await?;
        let label = self.web_label(&record).await?;
        let body = Body { port: port.number(), private: false };
        self.keep_proxy(&record, name, body).await?;
        Ok(proxy(&record, &label, name, body))
    }

    /// Removes a named proxy.
    pub async fn remove_proxy(&self, address: &Address, name: &str) -> Result<(), HerdError> {
        if name.is_empty() {
            let reason = "every box has its default proxy".to_owned();
            return Err(HerdError::Invalid { field: "name", reason });
        }
        let record = self.find(address).await?;
        let thing = self.proxy_thing(&record, name).await?.ok_or_else(|| no_proxy(name))?;
        self.store.remove_thing(thing.id).await?;
        self.routes.changed();
        Ok(())
    }

    /// Changes a proxy; the empty name is the default one.
    pub async fn change_proxy(
        &self,
        address: &Address,
        name: &str,
        change: ProxyChange,
    ) -> Result<(), HerdError> {
        let record = self.find(address).await?;
        let thing = self.proxy_thing(&record, name).await?;
        let mut new = match &thing {
            Some(thing) => body(thing),
            None if name.is_empty() => Body::of_default(),
            None => return Err(no_proxy(name)),
        };
        new.port = change.port.map_or(new.port, Port::number);
        new.private = change.private.unwrap_or(new.private);
        let Some(mut thing) = thing else { return self.keep_proxy(&record, name, new).await };
        thing.body = new.text();
        self.store.update_thing(&thing).await?;
        self.routes.changed();
        Ok(())
    }

    async fn keep_proxy(
        &self,
        record: &BoxRecord,
        name: &str,
        body: Body,
    ) -> Result<(), HerdError> {
        if self.store.things_of(ThingKind::Proxy, record.id).await?.len() >= MOST_PROXIES {
            return Err(HerdError::Quota {
                quota: "proxies of a box",
                limit: MOST_PROXIES.to_string(),
            });
        }
        let thing = ThingRecord {
            id: ThingId::new(),
            kind: ThingKind::Proxy,
            owner: record.owner,
            of: Some(record.id),
            name: name.to_owned(),
            body: body.text(),
            created: self.now(),
        };
        self.store.add_thing(&thing).await?;
        self.routes.changed();
        Ok(())
    }

    async fn proxy_thing(
        &self,
        record: &BoxRecord,
        name: &str,
    ) -> Result<Option<ThingRecord>, HerdError> {
        let things = self.store.things_of(ThingKind::Proxy, record.id).await?;
        Ok(things.into_iter().find(|thing| thing.name == name))
    }

    /// Where automatic proxies lead now. A box is not woken for it, and one that does not answer
    /// leaves it unknown.
    async fn look_for_ports(&self, record: BoxRecord, proxies: &mut [Proxy]) {
        if proxies.iter().all(|proxy| proxy.port != Port::Auto)
            || decide(&record, Request::Use).ok() != Some(Decision::Proceed)
        {
            return;
        }
        let found = async {
            let (_, link) = self.link_of(record).await.ok()?;
            likeliest(link.listening().await.ok()?.into_iter().map(|listener| listener.port))
        };
        let found = found.await;
        for proxy in proxies.iter_mut().filter(|proxy| proxy.port == Port::Auto) {
            proxy.effective = found;
        }
    }
}

fn no_proxy(name: &str) -> HerdError {
    HerdError::NoSuch { what: "proxy", name: name.to_owned() }
}

fn proxy(record: &BoxRecord, label: &str, name: &str, body: Body) -> Proxy {
    let host = match name {
        "" => label.to_owned(),
        name => format!("{name}.{label}"),
    };
    Proxy {
        name: name.to_owned(),
        of: record.id,
        box_name: record.spec.name.clone(),
        host,
        port: Port::from_number(body.port),
        effective: Some(body.port).filter(|port| *port != 0),
        private: body.private,
    }
}
