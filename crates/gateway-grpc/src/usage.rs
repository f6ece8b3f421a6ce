//! What boxes used over time.

use boxherd_boxd_api as api;
use boxherd_herd::{HerdError, Used};
use boxherd_model::usage::{DAY, Sums};
use boxherd_model::{ByteSize, Timestamp, UserId};

use crate::desk::Desk;
use crate::translate::{self, invalid, seconds};

type Answer<T> = Result<T, HerdError>;

/// Milliseconds of an hour.
const HOUR: f64 = 3_600_000.0;

/// Unix seconds; 0 is for whoever answers to choose.
fn time(field: &'static str, seconds: i64) -> Answer<Option<Timestamp>> {
    match seconds {
        0 => Ok(None),
        seconds if seconds < 0 => Err(invalid(field, "it is before 1970")),
        seconds => Ok(Some(Timestamp::from_millis(seconds.saturating_mul(1000)))),
    }
}

pub(crate) async fn of_box(
    desk: &Desk<'_>,
    asked: api::GetVmUsageRequest,
) -> Answer<api::GetVmUsageResponse> {
    desk.address("vm_id", &asked.vm_id)?;
    desk.own_org(&asked.org).await?;
    let (since, until) = (time("since", asked.since)?, time("until", asked.until)?);
    let used = desk.herd.used_by(&asked.vm_id, since, until).await?;
    desk.about(used.id);
    Ok(api::GetVmUsageResponse {
        period_start: seconds(used.from),
        period_end: seconds(used.to),
        currency: String::new(),
        rates: Some(api::UsageRates::default()),
        usage: Some(told(desk, &used).await?),
    })
}

pub(crate) async fn of_org(
    desk: &Desk<'_>,
    asked: api::GetOrgUsageRequest,
) -> Answer<api::GetOrgUsageResponse> {
    desk.own_org(&asked.org).await?;
    let (since, until) = (time("since", asked.since)?, time("until", asked.until)?);
    let used = desk.herd.used(since, until).await?;
    let now = desk.herd.now();
    let own = desk.caller.whoami().await?.user;
    let mut vms = Vec::new();
    for used in &used {
        vms.push(told(desk, used).await?);
    }
    let start = used.iter().map(|used| used.from).min();
    let end = used.iter().map(|used| used.to).max();
    Ok(api::GetOrgUsageResponse {
        org_id: own.id.to_string(),
        org: own.name.to_string(),
        period_start: seconds(start.or(since).unwrap_or(now)),
        period_end: seconds(end.or(until).unwrap_or(now)),
        rates: Some(api::UsageRates::default()),
        complete: vms.iter().all(|vm| vm.complete),
        vms,
        ..api::GetOrgUsageResponse::default()
    })
}

/// Nothing costs anything here. A day that is over is complete.
async fn told(desk: &Desk<'_>, used: &Used) -> Answer<api::VmUsage> {
    let limits = used.now.as_ref().map(|status| status.spec.limits).unwrap_or_default();
    let bytes = |size: Option<ByteSize>| size.map_or(0, ByteSize::bytes);
    let status = used.now.as_ref().map_or("deleted", |status| translate::state(status.state));
    Ok(api::VmUsage {
        vm_id: used.id.to_string(),
        name: used.name.clone(),
        owner: used.owner.map(|owner| owner.to_string()).unwrap_or_default(),
        owner_name: owner_name(desk, used.owner).await?,
        sharing: "private".to_owned(),
        status: status.to_owned(),
        vcpu: limits.cpus.map_or(0, |cpus| cpus.millis().div_ceil(1000)),
        memory_bytes: bytes(limits.memory),
        disk_bytes: bytes(limits.disk),
        seconds: Some(states(&used.sums)),
        vcpu_hours: used.sums.cpu as f64 / HOUR,
        ram_gib_hours: used.sums.memory as f64 / 1024.0 / HOUR,
        disk_gib_hours: used.sums.disk as f64 / 1024.0 / HOUR,
        cost_micro: 0,
        complete: used.now.is_none() || used.to.millis() % DAY == 0,
    })
}

async fn owner_name(desk: &Desk<'_>, owner: Option<UserId>) -> Answer<String> {
    let own = desk.caller.whoami().await?.user;
    Ok(if owner == Some(own.id) { own.name.to_string() } else { String::new() })
}

fn states(sums: &Sums) -> api::StateSeconds {
    api::StateSeconds {
        running: sums.running / 1000,
        standby: sums.suspended / 1000,
        hibernated: sums.hibernated / 1000,
        stopped: sums.stopped / 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_edges() {
        assert_eq!(time("since", 0).unwrap(), None);
        assert_eq!(time("since", 5).unwrap(), Some(Timestamp::from_millis(5000)));
        assert_eq!(time("since", i64::MAX).unwrap(), Some(Timestamp::from_millis(i64::MAX)));
        assert!(time("since", -1).is_err());
    }
}
