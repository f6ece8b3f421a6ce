//! What happens to a box by itself when time passes.

use boxherd_boxd_api as api;
use boxherd_herd::HerdError;
use boxherd_model::Timestamp;

use crate::desk::Desk;
use crate::translate::invalid;

type Answer<T> = Result<T, HerdError>;

/// Zero is never.
fn limit(seconds: u32) -> Option<u32> {
    (seconds != 0).then_some(seconds)
}

pub(crate) async fn suspend_after_idle(
    desk: &Desk<'_>,
    asked: api::SetAutoSuspendTimeoutRequest,
) -> Answer<api::SetAutoSuspendTimeoutResponse> {
    let address = desk.address("vm_id", &asked.vm_id)?;
    let after = limit(asked.timeout_secs);
    let change = desk.herd.change_timers(&address, |timers, _| timers.suspend_after_idle = after);
    desk.about(change.await?.id);
    Ok(api::SetAutoSuspendTimeoutResponse {})
}

pub(crate) async fn hibernate_after_idle(
    desk: &Desk<'_>,
    asked: api::SetAutoHibernateTimeoutRequest,
) -> Answer<api::SetAutoHibernateTimeoutResponse> {
    let address = desk.address("vm_id", &asked.vm_id)?;
    let after = limit(asked.timeout_secs);
    let change = desk.herd.change_timers(&address, |timers, _| timers.hibernate_after_idle = after);
    desk.about(change.await?.id);
    Ok(api::SetAutoHibernateTimeoutResponse {})
}

/// From now on, whatever was set before; 0 is never.
pub(crate) async fn delete_after(
    desk: &Desk<'_>,
    asked: api::SetDeleteAfterRequest,
) -> Answer<api::SetDeleteAfterResponse> {
    let address = desk.address("vm_id", &asked.vm_id)?;
    if !asked.delete_after_cron.is_empty() {
        return Err(invalid("delete_after_cron", "this server takes `delete_after_secs` only"));
    }
    let seconds = asked.delete_after_secs;
    let change = desk.herd.change_timers(&address, |timers, now| {
        timers.delete_at = (seconds != 0).then(|| later(now, seconds));
    });
    let status = change.await?;
    desk.about(status.id);
    let delete_at_ms = status.spec.timers.delete_at.map_or(0, Timestamp::millis);
    Ok(api::SetDeleteAfterResponse { delete_at_ms })
}

/// A time that is further away than there are numbers for never comes.
fn later(now: Timestamp, seconds: u64) -> Timestamp {
    let millis = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.millis().saturating_add(millis))
}

/// Outbound traffic never counts here.
pub(crate) async fn ignore_outbound(
    desk: &Desk<'_>,
    asked: api::SetIdleIgnoreOutboundRequest,
) -> Answer<api::SetIdleIgnoreOutboundResponse> {
    let status = desk.herd.show(&desk.address("vm_id", &asked.vm_id)?).await?;
    desk.about(status.id);
    match asked.enabled {
        true => Ok(api::SetIdleIgnoreOutboundResponse {}),
        false => Err(invalid("enabled", "only inbound traffic keeps a box awake")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_edges() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(later(now, 1).millis(), 2_000);
        assert_eq!(later(now, u64::MAX).millis(), i64::MAX);
        assert_eq!(limit(0), None);
        assert_eq!(limit(u32::MAX), Some(u32::MAX));
    }
}
