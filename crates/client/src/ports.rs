//! Ports of the host that lead to a box, for what is not HTTP.

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// The exposed ports of a box. The server must offer some (`serve --forward-listen`).
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let open = client.ports("db").expose(5432, "tcp").await?;
/// println!("{}:{}", open.host, open.public_port);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Ports {
    pub(crate) client: Client,
    pub(crate) of: String,
}

/// A port of the host that leads to a box.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExposedPort {
    /// By what name the host is reached.
    pub host: String,
    /// The port of the host.
    pub public_port: u16,
    /// The port of the box.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

fn told(forward: api::ExposePortResponse) -> Result<ExposedPort, Error> {
    let number = |port: u32| {
        port.try_into().map_err(|_| Error::server(format!("the server says a port is {port}")))
    };
    Ok(ExposedPort {
        host: forward.dns,
        public_port: number(forward.public_port)?,
        port: number(forward.vm_port)?,
        protocol: forward.protocol,
    })
}

impl Ports {
    pub(crate) fn new(client: Client, of: String) -> Self {
        Self { client, of }
    }

    /// Offers a port of the host that leads to `port` of the box; `protocol` is `tcp` or `udp`.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let open = client.ports("db").expose(5432, "tcp").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn expose(&self, port: u16, protocol: &str) -> Result<ExposedPort, Error> {
        let asked = api::ExposePortRequest {
            vm: self.of.clone(),
            vm_port: port.into(),
            protocol: protocol.to_owned(),
            ..api::ExposePortRequest::default()
        };
        told(ask!(self.client, Changes, expose_port, asked)?)
    }

    /// Offers it no more.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.ports("db").unexpose(5432).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn unexpose(&self, port: u16) -> Result<(), Error> {
        let asked = api::UnexposePortRequest {
            vm: self.of.clone(),
            vm_port: port.into(),
            ..api::UnexposePortRequest::default()
        };
        ask!(self.client, Changes, unexpose_port, asked).map(drop)
    }

    /// Every exposed port of the box.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} ports", client.ports("db").list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<ExposedPort>, Error> {
        let asked = api::ListExposedPortsRequest { vm: self.of.clone() };
        let listed = ask!(self.client, Looks, list_exposed_ports, asked)?;
        listed.forwards.into_iter().map(told).collect()
    }
}
