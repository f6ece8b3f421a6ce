//! Ways into a box by HTTP.

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// The proxies of a box. One has no name and leads to the box by the box's own.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let proxies = client.proxies("web");
/// proxies.set_port("", Some(3000)).await?;
/// println!("{}", proxies.create("api", None).await?.domain);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Proxies {
    client: Client,
    of: String,
}

/// A way into a box.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxy {
    /// Unique in its box; empty for the one that every box has.
    pub name: String,
    /// By what name browsers ask for it.
    pub domain: String,
    /// Where in the box it leads; `None`, and the port is found.
    pub port: Option<u16>,
    /// Where it leads now; 0 where the server does not say.
    pub effective_port: u16,
    /// Whether it wants a token of whoever sees the box, as only proxies of Boxherd can.
    pub private: bool,
}

impl From<api::ProxyInfo> for Proxy {
    fn from(proxy: api::ProxyInfo) -> Self {
        let fixed = (proxy.port_mode != "auto").then_some(proxy.port);
        Self {
            name: proxy.name,
            domain: proxy.domain,
            port: fixed.and_then(number),
            effective_port: number(proxy.effective_port).unwrap_or(0),
            private: proxy.boxherd_private,
        }
    }
}

/// A port; 0 is none.
fn number(port: u32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

impl Proxies {
    pub(crate) fn new(client: Client, of: String) -> Self {
        Self { client, of }
    }

    /// Makes a proxy. Without a port, the one on which something listens in the box is found.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let api = client.proxies("web").create("api", Some(8080)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, name: &str, port: Option<u16>) -> Result<Proxy, Error> {
        let asked = api::CreateProxyRequest {
            name: name.to_owned(),
            vm: self.of.clone(),
            port: port.unwrap_or(0).into(),
            ..api::CreateProxyRequest::default()
        };
        let made = ask!(self.client, Changes, create_proxy, asked)?;
        let (port, effective_port) = (number(made.port), number(made.port).unwrap_or(0));
        let (name, domain) = (made.name, made.domain);
        Ok(Proxy { name, domain, port, effective_port, private: false })
    }

    /// Every proxy of the box.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} proxies", client.proxies("web").list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Proxy>, Error> {
        let asked =
            api::ListProxiesRequest { vm: self.of.clone(), ..api::ListProxiesRequest::default() };
        let listed = ask!(self.client, Looks, list_proxies, asked)?;
        Ok(listed.proxies.into_iter().map(Proxy::from).collect())
    }

    /// Has a proxy lead to another port; to one that is found without.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.proxies("web").set_port("api", None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_port(&self, name: &str, port: Option<u16>) -> Result<(), Error> {
        let asked = api::SetProxyPortRequest {
            name: name.to_owned(),
            vm: self.of.clone(),
            port: port.map_or_else(|| "auto".to_owned(), |port| port.to_string()),
            ..api::SetProxyPortRequest::default()
        };
        ask!(self.client, Changes, set_proxy_port, asked).map(drop)
    }

    /// Has a proxy want a token of whoever sees the box, or let everybody in. Other servers than Boxherd
    /// refuse this: they want to know a port.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.proxies("web").set_private("api", true).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_private(&self, name: &str, private: bool) -> Result<(), Error> {
        let asked = api::SetProxyPortRequest {
            name: name.to_owned(),
            vm: self.of.clone(),
            boxherd_private: Some(private),
            ..api::SetProxyPortRequest::default()
        };
        ask!(self.client, Changes, set_proxy_port, asked).map(drop)
    }

    /// Removes a proxy.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.proxies("web").remove("api").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let asked = api::DeleteProxyRequest {
            name: name.to_owned(),
            vm: self.of.clone(),
            ..api::DeleteProxyRequest::default()
        };
        ask!(self.client, Changes, delete_proxy, asked).map(drop)
    }
}
