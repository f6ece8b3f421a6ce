//! What boxes used over time.

use boxherd_boxd_api as api;

use crate::client::ask;
use crate::{Boxes, Error};

/// What a box used in some time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// The box, which may be deleted by now.
    pub box_id: String,
    /// What it is or was called.
    pub name: String,
    /// From when on, in seconds since 1970; a server may answer in whole days.
    pub from: i64,
    /// Until when.
    pub to: i64,
    /// Seconds in which it ran.
    pub running: u64,
    /// Seconds in which it was suspended.
    pub suspended: u64,
    /// Seconds in which it was hibernated.
    pub hibernated: u64,
    /// Seconds in which it was stopped.
    pub stopped: u64,
    /// Hours of one processor.
    pub cpu_hours: f64,
    /// Hours of one GiB of memory.
    pub memory_gib_hours: f64,
    /// Hours of one GiB of disk.
    pub disk_gib_hours: f64,
    /// Nothing will be added to it.
    pub complete: bool,
}

fn told(usage: api::VmUsage, from: i64, to: i64) -> Usage {
    let seconds = usage.seconds.unwrap_or_default();
    Usage {
        box_id: usage.vm_id,
        name: usage.name,
        from,
        to,
        running: seconds.running,
        suspended: seconds.standby,
        hibernated: seconds.hibernated,
        stopped: seconds.stopped,
        cpu_hours: usage.vcpu_hours,
        memory_gib_hours: usage.ram_gib_hours,
        disk_gib_hours: usage.disk_gib_hours,
        complete: usage.complete,
    }
}

impl Boxes {
    /// What a box used from a time to another, in seconds since 1970; what is not said, the server
    /// chooses.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// println!("{} h", client.boxes().usage("web", None, None).await?.cpu_hours);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn usage(
        &self,
        of: &str,
        since: Option<i64>,
        until: Option<i64>,
    ) -> Result<Usage, Error> {
        let asked = api::GetVmUsageRequest {
            vm_id: of.to_owned(),
            since: since.unwrap_or(0),
            until: until.unwrap_or(0),
            org: String::new(),
        };
        let answer = ask!(self.client, Looks, get_vm_usage, asked)?;
        let usage = answer.usage.ok_or_else(|| Error::server("the usage is not told"))?;
        Ok(told(usage, answer.period_start, answer.period_end))
    }

    /// What each of the caller's boxes used, also of those that were deleted.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// for usage in client.boxes().usages(None, None).await? {
    ///     println!("{} {} h", usage.name, usage.cpu_hours);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn usages(
        &self,
        since: Option<i64>,
        until: Option<i64>,
    ) -> Result<Vec<Usage>, Error> {
        let asked = api::GetOrgUsageRequest {
            since: since.unwrap_or(0),
            until: until.unwrap_or(0),
            org: String::new(),
        };
        let answer = ask!(self.client, Looks, get_org_usage, asked)?;
        let (from, to) = (answer.period_start, answer.period_end);
        Ok(answer.vms.into_iter().map(|usage| told(usage, from, to)).collect())
    }
}
