//! Ways into boxes: proxies and domains.

use boxherd_boxd_api as api;
use boxherd_herd::{Domain, HerdError, MOST_PROXIES, Port, Proxy, ProxyChange, check_proxy_name};
use boxherd_model::Address;

use crate::desk::Desk;
use crate::translate::invalid;

/// What a domain is that leads to its box.
const ACTIVE: &str = "active";

type Answer<T> = Result<T, HerdError>;

#[expect(deprecated, reason = "releases before 0.2 use `vm_name`")]
pub(crate) async fn list(
    desk: &Desk<'_>,
    asked: api::ListProxiesRequest,
) -> Answer<api::ListProxiesResponse> {
    let proxies = desk.herd.proxies(&desk.either(&asked.vm, &asked.vm_name)?).await?;
    let proxies = proxies.into_iter().map(|proxy| info(proxy, &desk.config.zone)).collect();
    Ok(api::ListProxiesResponse { proxies })
}

fn info(proxy: Proxy, zone: &str) -> api::ProxyInfo {
    // The default where nothing is found: clients show it as the port.
    let effective = proxy.effective.unwrap_or_else(|| Port::default().number());
    let auto = proxy.port == Port::Auto;
    api::ProxyInfo {
        domain: format!("{}.{zone}", proxy.host),
        port: proxy.port.number().into(),
        is_default: proxy.name.is_empty(),
        port_display: proxy.port.to_string(),
        vm_name: proxy.box_name.to_string(),
        vm_id: proxy.of.to_string(),
        port_mode: if auto { "auto" } else { "locked" }.to_owned(),
        effective_port: effective.into(),
        boxherd_private: proxy.private,
        name: proxy.name,
    }
}

#[expect(deprecated, reason = "releases before 0.2 use `vm_name`")]
pub(crate) async fn create(
    desk: &Desk<'_>,
    asked: api::CreateProxyRequest,
) -> Answer<api::CreateProxyResponse> {
    let port = number(asked.port)?;
    let address = desk.either(&asked.vm, &asked.vm_name)?;
    let proxy = desk.herd.add_proxy(&address, &asked.name, port).await?;
    desk.about(proxy.of);
    Ok(api::CreateProxyResponse {
        domain: format!("{}.{}", proxy.host, desk.config.zone),
        vm_name: proxy.box_name.to_string(),
        port: proxy.port.number().into(),
        name: proxy.name,
    })
}

#[expect(deprecated, reason = "releases before 0.2 use `vm_name`")]
pub(crate) async fn delete(
    desk: &Desk<'_>,
    asked: api::DeleteProxyRequest,
) -> Answer<api::DeleteProxyResponse> {
    let address = desk.either(&asked.vm, &asked.vm_name)?;
    desk.herd.remove_proxy(&address, &asked.name).await?;
    Ok(api::DeleteProxyResponse {})
}

#[expect(deprecated, reason = "releases before 0.2 use `vm_name`")]
pub(crate) async fn set_port(
    desk: &Desk<'_>,
    asked: api::SetProxyPortRequest,
) -> Answer<api::SetProxyPortResponse> {
    let port = match asked.port.as_str() {
        "auto" => Some(Port::Auto),
        "" if asked.boxherd_private.is_some() => None,
        text => Some(text.parse().map_err(|_| no_port(text)).and_then(number)?),
    };
    let address = desk.either(&asked.vm, &asked.vm_name)?;
    let change = ProxyChange { port, private: asked.boxherd_private };
    desk.herd.change_proxy(&address, &asked.name, change).await?;
    Ok(api::SetProxyPortResponse {})
}

/// 0 is found out.
fn number(port: u32) -> Answer<Port> {
    u16::try_from(port).map(Port::from_number).map_err(|_| no_port(&port.to_string()))
}

fn no_port(text: &str) -> HerdError {
    let shown: String = text.chars().take(20).collect();
    invalid("port", format!("`{shown}` is no port, use 1 to 65535, or `auto`"))
}

/// The proxies that `CreateVm` asks for, refused before anything is made if they make no sense. A
/// nameless one is the port of the default proxy.
pub(crate) fn wanted(config: Option<&api::VmConfig>) -> Answer<Vec<(String, Port)>> {
    let network = config.and_then(|config| config.network.as_ref());
    let mut wanted: Vec<(String, Port)> = Vec::new();
    for entry in network.iter().flat_map(|network| &network.proxies) {
        if wanted.len() == MOST_PROXIES {
            let limit = MOST_PROXIES.to_string();
            return Err(HerdError::Quota { quota: "proxies of a box", limit });
        }
        if !entry.name.is_empty() {
            check_proxy_name(&entry.name)?;
        }
        if wanted.iter().any(|(name, _)| *name == entry.name) {
            return Err(invalid("config.network.proxies", format!("`{}` comes twice", entry.name)));
        }
        wanted.push((entry.name.clone(), number(entry.port)?));
    }
    Ok(wanted)
}

/// Makes the proxies that were asked for together with a box, or there is no box.
pub(crate) async fn make(
    desk: &Desk<'_>,
    address: &Address,
    wanted: Vec<(String, Port)>,
) -> Answer<()> {
    let made = make_all(desk, address, wanted).await;
    if made.is_err()
        && let Err(error) = desk.herd.delete(address).await
    {
        tracing::warn!(%address, %error, "a box without the proxies that it should have is left");
    }
    made
}

async fn make_all(desk: &Desk<'_>, address: &Address, wanted: Vec<(String, Port)>) -> Answer<()> {
    for (name, port) in wanted {
        let change = ProxyChange { port: Some(port), private: None };
        match name.as_str() {
            "" => desk.herd.change_proxy(address, "", change).await?,
            name => desk.herd.add_proxy(address, name, port).await.map(drop)?,
        }
    }
    Ok(())
}

pub(crate) async fn bind_domain(
    desk: &Desk<'_>,
    asked: api::BindDomainRequest,
) -> Answer<api::BindDomainResponse> {
    bind(desk, &asked.vm_id, &asked.domain).await?;
    Ok(api::BindDomainResponse {})
}

async fn bind(desk: &Desk<'_>, vm: &str, domain: &str) -> Answer<Domain> {
    let address = desk.address("vm_id", vm)?;
    let bound = desk.herd.bind_domain(&address, domain, &desk.config.zone).await?;
    desk.about(bound.of);
    Ok(bound)
}

pub(crate) async fn unbind_domain(
    desk: &Desk<'_>,
    asked: api::UnbindDomainRequest,
) -> Answer<api::UnbindDomainResponse> {
    desk.herd.unbind_domain(&asked.domain).await?;
    Ok(api::UnbindDomainResponse {})
}

pub(crate) async fn domains(
    desk: &Desk<'_>,
    _asked: api::ListDomainsRequest,
) -> Answer<api::ListDomainsResponse> {
    let domains = desk.herd.domains().await?.into_iter();
    let info =
        |domain: Domain| api::DomainInfo { domain: domain.name, vm_id: domain.of.to_string() };
    Ok(api::ListDomainsResponse { domains: domains.map(info).collect() })
}

pub(crate) async fn add_custom_domain(
    desk: &Desk<'_>,
    asked: api::AddCustomDomainRequest,
) -> Answer<api::AddCustomDomainResponse> {
    let bound = bind(desk, &asked.vm_id, &asked.domain).await?;
    Ok(api::AddCustomDomainResponse { domain: Some(custom(bound)) })
}

pub(crate) async fn custom_domains(
    desk: &Desk<'_>,
    _asked: api::ListCustomDomainsRequest,
) -> Answer<api::ListCustomDomainsResponse> {
    let domains = desk.herd.domains().await?.into_iter().map(custom).collect();
    Ok(api::ListCustomDomainsResponse { domains })
}

pub(crate) async fn remove_custom_domain(
    desk: &Desk<'_>,
    asked: api::RemoveCustomDomainRequest,
) -> Answer<api::RemoveCustomDomainResponse> {
    desk.herd.unbind_domain(&asked.domain).await?;
    Ok(api::RemoveCustomDomainResponse {})
}

fn custom(domain: Domain) -> api::CustomDomainInfo {
    api::CustomDomainInfo {
        domain: domain.name,
        vm_id: domain.of.to_string(),
        vm_name: domain.box_name.to_string(),
        status: ACTIVE.to_owned(),
        last_error: String::new(),
    }
}
