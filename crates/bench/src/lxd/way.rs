//! A way to a server: how far it is, and a box there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use boxherd_engine::Engine;
use boxherd_link::Link;
use boxherd_link::client::HANDSHAKE_TIMEOUT;
use boxherd_lxd_client::{Client, Endpoint, Instance, Remote};
use boxherd_model::{BoxId, BoxName};

use super::server::Server;
use crate::delay::{Proxy, Traffic};

/// A box at the end of a way.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) server: Arc<Server>,
    pub(crate) remote: Remote,
    pub(crate) name: BoxName,
    id: BoxId,
    /// None for a unix socket.
    pub(crate) distance: Option<Duration>,
    /// Where there is a distance.
    proxy: Option<Proxy>,
}

impl Way {
    /// As the engine goes; the first of its endpoints, when it has several.
    pub(crate) fn plain(server: Arc<Server>, name: BoxName, id: BoxId) -> anyhow::Result<Self> {
        let endpoint = server.remote.endpoints.first().context("an engine without an endpoint")?;
        let distance = matches!(endpoint, Endpoint::Https { .. }).then_some(Duration::ZERO);
        let remote = Remote { endpoints: vec![endpoint.clone()], ..server.remote.clone() };
        Ok(Self { server, remote, name, id, distance, proxy: None })
    }

    /// The same way, so much longer; nothing for a unix socket, which is never far.
    pub(crate) async fn far(&self, round_trip: Duration) -> anyhow::Result<Option<Self>> {
        let [Endpoint::Https { host, port }] = &self.remote.endpoints[..] else { return Ok(None) };
        let target = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let proxy = Proxy::start(target, round_trip).await.context("cannot start a proxy")?;
        let endpoint = Endpoint::Https { host: "127.0.0.1".to_owned(), port: proxy.port };
        Ok(Some(Self {
            server: Arc::clone(&self.server),
            remote: Remote { endpoints: vec![endpoint], ..self.remote.clone() },
            name: self.name.clone(),
            id: self.id,
            distance: Some(round_trip),
            proxy: Some(proxy),
        }))
    }

    /// What the names of contests end in: `unix`, `0ms`, `27ms`.
    pub(crate) fn label(&self) -> String {
        self.distance.map_or_else(|| "unix".to_owned(), |far| format!("{}ms", far.as_millis()))
    }

    /// The same in words.
    pub(crate) fn words(&self) -> String {
        let server = &self.server.name;
        match self.distance {
            None => format!("`{server}` by its unix socket"),
            Some(Duration::ZERO) => format!("`{server}` by TLS"),
            Some(far) => format!("`{server}` by TLS, {} ms away", far.as_millis()),
        }
    }

    /// The round-trip time in milliseconds; `None` where there is none to speak of.
    pub(crate) fn round_trip(&self) -> Option<f64> {
        let far = self.distance.filter(|far| !far.is_zero())?;
        Some(far.as_secs_f64() * 1000.0)
    }

    /// What a program has that has just begun.
    pub(crate) fn engine(&self) -> anyhow::Result<Arc<dyn Engine>> {
        Ok((self.server.open)(&self.remote)?)
    }

    /// A link of its own.
    pub(crate) async fn link(&self) -> anyhow::Result<Link> {
        self.link_over(&*self.engine()?).await
    }

    /// A link that this engine makes.
    pub(crate) async fn link_over(&self, engine: &dyn Engine) -> anyhow::Result<Link> {
        // All as the herd does, which knows its boxes by their names.
        engine.called(self.id, &self.name);
        let stream = engine.connect(self.id).await.context("cannot connect to the box")?;
        Ok(Link::begin(stream, engine.greets_within().unwrap_or(HANDSHAKE_TIMEOUT)))
    }

    /// The instance, as the API has it.
    pub(crate) fn instance(&self) -> anyhow::Result<Instance> {
        Ok(Client::new(&self.remote)?.instance(self.name.as_str()))
    }

    /// What has gone over the way; `None` where nobody counts.
    pub(crate) fn traffic(&self) -> Option<Traffic> {
        self.proxy.as_ref().map(Proxy::traffic)
    }
}
