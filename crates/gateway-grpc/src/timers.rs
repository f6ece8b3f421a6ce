//! What happens to a box by itself when time passes.

use boxherd_boxd_api as api;
use boxherd_herd::HerdError;
use boxherd_model::{Deadline, Timestamp};

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

/// From now on, whatever was set before; neither is never.
pub(crate) async fn delete_after(
    desk: &Desk<'_>,
    asked: api::SetDeleteAfterRequest,
) -> Answer<api::SetDeleteAfterResponse> {
    let address = desk.address("vm_id", &asked.vm_id)?;
    let deadline = deadline(asked.delete_after_secs, asked.delete_after_cron)?;
    let status = desk.herd.set_deadline(&address, deadline).await?;
    desk.about(status.id);
    let delete_at_ms = status.spec.timers.delete_at.map_or(0, Timestamp::millis);
    Ok(api::SetDeleteAfterResponse { delete_at_ms })
}

fn deadline(seconds: u64, cron: String) -> Answer<Option<Deadline>> {
    match (seconds, cron.is_empty()) {
        (0, true) => Ok(None),
        (seconds, true) => Ok(Some(Deadline::In(seconds))),
        (0, false) => Ok(Some(Deadline::Cron(cron))),
        _ => Err(invalid("delete_after_cron", "give it or `delete_after_secs`, not both")),
    }
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
    fn a_deadline_has_one_form() {
        assert_eq!(deadline(0, String::new()).unwrap(), None);
        assert_eq!(deadline(5, String::new()).unwrap(), Some(Deadline::In(5)));
        let cron = "0 18 * * *".to_owned();
        assert_eq!(deadline(0, cron.clone()).unwrap(), Some(Deadline::Cron(cron.clone())));
        assert!(deadline(5, cron).is_err());
        assert_eq!(limit(0), None);
        assert_eq!(limit(u32::MAX), Some(u32::MAX));
    }
}
