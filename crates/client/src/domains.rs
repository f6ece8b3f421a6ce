//! Domains: names of the caller's own that lead to boxes.

use boxherd_boxd_api as api;

use crate::Error;
use crate::client::{Client, ask};

/// The caller's domains.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// client.domains().bind("www.example.com", "web").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Domains {
    client: Client,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Domain {
    /// The domain.
    pub name: String,
    /// The box that it leads to.
    pub box_id: String,
    /// What the box is called.
    pub box_name: String,
    /// `active`, or `pending` until the name leads to the server.
    pub status: String,
    /// Why it is not active; empty where it is.
    pub last_error: String,
}

impl From<api::CustomDomainInfo> for Domain {
    fn from(domain: api::CustomDomainInfo) -> Self {
        Self {
            name: domain.domain,
            box_id: domain.vm_id,
            box_name: domain.vm_name,
            status: domain.status,
            last_error: domain.last_error,
        }
    }
}

impl Domains {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Has a domain lead to a box.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.domains().bind("www.example.com", "web").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bind(&self, domain: &str, of: &str) -> Result<Domain, Error> {
        let asked = api::AddCustomDomainRequest { vm_id: of.to_owned(), domain: domain.to_owned() };
        let bound = ask!(self.client, Changes, add_custom_domain, asked)?.domain;
        bound.map(Domain::from).ok_or_else(|| Error::server("the domain is not told"))
    }

    /// Every domain.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} domains", client.domains().list().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Domain>, Error> {
        let asked = api::ListCustomDomainsRequest {};
        let listed = ask!(self.client, Looks, list_custom_domains, asked)?;
        Ok(listed.domains.into_iter().map(Domain::from).collect())
    }

    /// Has a domain lead nowhere.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.domains().unbind("www.example.com").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn unbind(&self, domain: &str) -> Result<(), Error> {
        let asked = api::RemoveCustomDomainRequest { domain: domain.to_owned() };
        ask!(self.client, Changes, remove_custom_domain, asked).map(drop)
    }
}
