//! Ports of the host that lead to boxes.

use boxherd_boxd_api as api;
use boxherd_herd::{Forward, HerdError, Protocol};

use crate::desk::Desk;
use crate::translate::invalid;

type Answer<T> = Result<T, HerdError>;

fn port(port: u32) -> Answer<u16> {
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    port.ok_or_else(|| invalid("vm_port", "a port is from 1 to 65535"))
}

fn info(forward: &Forward, desk: &Desk<'_>) -> api::ExposePortResponse {
    api::ExposePortResponse {
        vm_name: forward.box_name.to_string(),
        dns: format!("{}.{}", forward.box_name, desk.config.zone),
        public_port: forward.public.into(),
        vm_port: forward.port.into(),
        protocol: forward.protocol.to_string(),
        vm_id: forward.of.to_string(),
    }
}

#[expect(deprecated, reason = "releases before 0.2 use `vm_id`")]
pub(crate) async fn expose(
    desk: &Desk<'_>,
    asked: api::ExposePortRequest,
) -> Answer<api::ExposePortResponse> {
    let protocol = match asked.protocol.as_str() {
        "" => Protocol::Tcp,
        text => text.to_ascii_lowercase().parse()?,
    };
    let port = port(asked.vm_port)?;
    let address = desk.either(&asked.vm, &asked.vm_id)?;
    let forward = desk.herd.forward(&address, port, protocol).await?;
    desk.about(forward.of);
    Ok(info(&forward, desk))
}

#[expect(deprecated, reason = "releases before 0.2 use `vm_id`")]
pub(crate) async fn unexpose(
    desk: &Desk<'_>,
    asked: api::UnexposePortRequest,
) -> Answer<api::UnexposePortResponse> {
    let address = desk.either(&asked.vm, &asked.vm_id)?;
    let forward = desk.herd.unforward(&address, port(asked.vm_port)?).await?;
    desk.about(forward.of);
    Ok(api::UnexposePortResponse { forward: Some(info(&forward, desk)) })
}

pub(crate) async fn list(
    desk: &Desk<'_>,
    asked: api::ListExposedPortsRequest,
) -> Answer<api::ListExposedPortsResponse> {
    let forwards = match asked.vm.as_str() {
        "" => desk.herd.all_forwards().await?,
        vm => desk.herd.forwards(&desk.address("vm", vm)?).await?,
    };
    let forwards = forwards.iter().map(|forward| info(forward, desk)).collect();
    Ok(api::ListExposedPortsResponse { forwards })
}
