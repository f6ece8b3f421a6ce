//! What a box is like that is there: its size and its networks.

use std::time::Duration;

use boxherd_boxd_api as api;
use boxherd_herd::HerdError;
use boxherd_model::{BoxSpec, ByteSize, NetworkName, NetworkSpec, Timers};

use crate::desk::Desk;
use crate::translate::{configure, cpus, invalid, labels, refuse, refuse_volumes};

type Answer<T> = Result<T, HerdError>;

/// How long a box that is restarted may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) async fn resize(
    desk: &Desk<'_>,
    asked: api::ResizeVmRequest,
) -> Answer<api::ResizeVmResponse> {
    let address = desk.address("vm_id", &asked.vm_id)?;
    let cpus = (asked.vcpu != 0).then(|| cpus(asked.vcpu)).transpose()?;
    let memory = (asked.memory_bytes != 0).then(|| ByteSize::from_bytes(asked.memory_bytes));
    if cpus.is_none() && memory.is_none() {
        return Err(invalid("vcpu", "name a number of processors, or `memory_bytes`"));
    }
    let (status, rebooted) = desk.herd.resize(&address, cpus, memory, GRACE).await?;
    desk.about(status.id);
    let limits = status.spec.limits;
    Ok(api::ResizeVmResponse {
        vcpu: limits.cpus.map_or(0, |cpus| cpus.millis().div_ceil(1000)),
        memory_bytes: limits.memory.map_or(0, ByteSize::bytes),
        rebooted,
    })
}

/// The one network that a box can be in; the one from the start when none is named.
pub(crate) fn network(names: &[String]) -> Answer<NetworkName> {
    match names {
        [] => Ok(NetworkName::default_network()),
        [name] => name.parse().map_err(|error| invalid("networks", error)),
        _ => Err(invalid("networks", "a box is in one network here")),
    }
}

/// What is different about a copy; what is not named is as its source has it.
pub(crate) fn of_copy(
    asked: &api::ForkVmRequest,
) -> Answer<impl Fn(&mut BoxSpec) -> Answer<()> + Send + Sync + use<>> {
    let config = asked.config.clone();
    refuse(&[("shared", asked.shared)])?;
    refuse_volumes(config.as_ref())?;
    let (labels, isolated) = (labels(&asked.labels)?, asked.isolated);
    Ok(move |spec: &mut BoxSpec| {
        let timers = spec.timers.clone();
        configure(spec, config.as_ref())?;
        spec.timers = of_source(timers, config.as_ref().and_then(|config| config.srf.as_ref()));
        spec.labels.extend(labels.clone());
        if let NetworkSpec::Bridge { isolated: apart, .. } = &mut spec.network {
            *apart |= isolated;
        }
        Ok(())
    })
}

/// Timers of a copy: its source's, but for those that are named.
fn of_source(timers: Timers, named: Option<&api::SrfConfig>) -> Timers {
    let Some(named) = named else { return timers };
    let idle = match named.auto_suspend_timeout_secs {
        None => timers.suspend_after_idle,
        idle => idle.filter(|seconds| *seconds != 0),
    };
    let age = Some(u64::from(named.auto_destroy_timeout_secs)).filter(|seconds| *seconds != 0);
    Timers { suspend_after_idle: idle, delete_after: age.or(timers.delete_after), ..timers }
}

pub(crate) async fn set_networks(
    desk: &Desk<'_>,
    asked: api::SetVmNetworksRequest,
) -> Answer<api::SetVmNetworksResponse> {
    let address = desk.address("vm_id", &asked.vm_id)?;
    // A box that is not one's own is not there, whatever else is asked.
    desk.about(desk.herd.show(&address).await?.id);
    let status = desk.herd.set_network(&address, &network(&asked.networks)?).await?;
    let networks = desk.herd.network_of(&status).await?.into_iter().collect();
    Ok(api::SetVmNetworksResponse { networks })
}

pub(crate) async fn set_egress(
    desk: &Desk<'_>,
    asked: api::SetVmEgressAllowRequest,
) -> Answer<api::SetVmEgressAllowResponse> {
    let address = desk.address("vm", &asked.vm)?;
    let rules = asked.entries.iter().map(|entry| entry.parse());
    let rules: Vec<_> =
        rules.collect::<Result<_, _>>().map_err(|error| invalid("entries", error))?;
    let rules = (!rules.is_empty()).then_some(rules);
    let status = desk.herd.set_egress(&address, rules).await?;
    desk.about(status.id);
    let entries = match &status.spec.network {
        NetworkSpec::Bridge { egress: Some(rules), .. } => {
            rules.iter().map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    };
    Ok(api::SetVmEgressAllowResponse { entries })
}

pub(crate) async fn make_network(
    desk: &Desk<'_>,
    asked: api::CreateNetworkRequest,
) -> Answer<api::CreateNetworkResponse> {
    let name = asked.name.parse().map_err(|error| invalid("name", error))?;
    let made = desk.herd.make_network(&name).await?;
    Ok(api::CreateNetworkResponse { network_id: made.id })
}

pub(crate) async fn networks(
    desk: &Desk<'_>,
    _asked: api::ListNetworksRequest,
) -> Answer<api::ListNetworksResponse> {
    // Subnets are the engine's, which gives one out when a box joins.
    let networks = desk.herd.networks().await?.into_iter().map(|network| api::NetworkInfo {
        network_id: network.id,
        status: "active".to_owned(),
        ..api::NetworkInfo::default()
    });
    Ok(api::ListNetworksResponse { networks: networks.collect() })
}
