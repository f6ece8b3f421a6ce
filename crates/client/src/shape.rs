//! What a box is like that is there: its labels, size, networks and timers.

use std::collections::BTreeMap;
use std::time::Duration;

use boxherd_boxd_api as api;

use crate::box_info::seconds;
use crate::client::ask;
use crate::{Boxes, Error};

/// What a box was resized to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resized {
    /// At most this many processors; 0 where there is no limit.
    pub cpus: u32,
    /// At most this much memory, in bytes; 0 where there is no limit.
    pub memory: u64,
    /// Whether the box was restarted for it.
    pub restarted: bool,
}

impl Boxes {
    /// Sets and removes labels, and answers all.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().label("web", &[("tier", "front")], &["old"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn label(
        &self,
        of: &str,
        set: &[(&str, &str)],
        remove: &[&str],
    ) -> Result<BTreeMap<String, String>, Error> {
        self.relabel(of, set, remove, false).await
    }

    /// Gives a box these labels and no others.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().replace_labels("web", &[("tier", "front")]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn replace_labels(
        &self,
        of: &str,
        labels: &[(&str, &str)],
    ) -> Result<BTreeMap<String, String>, Error> {
        self.relabel(of, labels, &[], true).await
    }

    async fn relabel(
        &self,
        of: &str,
        set: &[(&str, &str)],
        remove: &[&str],
        replace_all: bool,
    ) -> Result<BTreeMap<String, String>, Error> {
        let asked = api::UpdateVmLabelsRequest {
            vm: of.to_owned(),
            set: set.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            remove: remove.iter().map(|&key| key.to_owned()).collect(),
            replace_all,
        };
        let labels = ask!(self.client, Changes, update_vm_labels, asked)?.labels;
        Ok(labels.into_iter().collect())
    }

    /// Gives a box another size; `None` leaves what is there. One that runs may be restarted for it.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().resize("web", Some(2), None).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resize(
        &self,
        of: &str,
        cpus: Option<u32>,
        memory: Option<u64>,
    ) -> Result<Resized, Error> {
        let asked = api::ResizeVmRequest {
            vm_id: of.to_owned(),
            vcpu: cpus.unwrap_or(0),
            memory_bytes: memory.unwrap_or(0),
        };
        let made = ask!(self.client, Changes, resize_vm, asked)?;
        Ok(Resized { cpus: made.vcpu, memory: made.memory_bytes, restarted: made.rebooted })
    }

    /// Puts a box into these networks; into the user's own where none is named.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().set_networks("web", &["back"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_networks(&self, of: &str, networks: &[&str]) -> Result<Vec<String>, Error> {
        let networks = networks.iter().map(|&name| name.to_owned()).collect();
        let asked = api::SetVmNetworksRequest { vm_id: of.to_owned(), networks };
        Ok(ask!(self.client, Changes, set_vm_networks, asked)?.networks)
    }

    /// Lets a box reach only this, `HOST` or `HOST:PORT`; everything where nothing is named.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().set_egress("web", &["deb.debian.org:443"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_egress(&self, of: &str, allowed: &[&str]) -> Result<Vec<String>, Error> {
        let entries = allowed.iter().map(|&entry| entry.to_owned()).collect();
        let asked = api::SetVmEgressAllowRequest { vm: of.to_owned(), entries };
        Ok(ask!(self.client, Changes, set_vm_egress_allow, asked)?.entries)
    }

    /// Suspends a box when nobody used it for so long, or never.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let hour = std::time::Duration::from_secs(3600);
    /// client.boxes().suspend_after("web", Some(hour)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn suspend_after(&self, of: &str, idle: Option<Duration>) -> Result<(), Error> {
        let timeout_secs = idle.map_or(Ok(0), seconds)?;
        let asked = api::SetAutoSuspendTimeoutRequest { vm_id: of.to_owned(), timeout_secs };
        ask!(self.client, Changes, set_auto_suspend_timeout, asked).map(drop)
    }

    /// Hibernates a box when nobody used it for so long, or never.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let hour = std::time::Duration::from_secs(3600);
    /// client.boxes().hibernate_after("web", Some(hour)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn hibernate_after(&self, of: &str, idle: Option<Duration>) -> Result<(), Error> {
        let timeout_secs = idle.map_or(Ok(0), seconds)?;
        let asked = api::SetAutoHibernateTimeoutRequest { vm_id: of.to_owned(), timeout_secs };
        ask!(self.client, Changes, set_auto_hibernate_timeout, asked).map(drop)
    }

    /// Deletes a box when so much time has passed from now on, or never. Answers when that is, in
    /// milliseconds since 1970.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let hour = std::time::Duration::from_secs(3600);
    /// client.boxes().delete_after("web", Some(hour)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_after(
        &self,
        of: &str,
        time: Option<Duration>,
    ) -> Result<Option<i64>, Error> {
        let asked = api::SetDeleteAfterRequest {
            vm_id: of.to_owned(),
            // Less than a second is not never.
            delete_after_secs: time.map_or(0, |time| time.as_secs().max(1)),
            ..api::SetDeleteAfterRequest::default()
        };
        let at = ask!(self.client, Changes, set_delete_after, asked)?.delete_at_ms;
        Ok((at != 0).then_some(at))
    }

    /// Deletes a box at the next time that a cron expression of five fields (UTC) matches. Answers when
    /// that is, in milliseconds since 1970.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().delete_by_cron("web", "0 18 * * 5").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_by_cron(&self, of: &str, expression: &str) -> Result<Option<i64>, Error> {
        let asked = api::SetDeleteAfterRequest {
            vm_id: of.to_owned(),
            delete_after_cron: expression.to_owned(),
            ..api::SetDeleteAfterRequest::default()
        };
        let at = ask!(self.client, Changes, set_delete_after, asked)?.delete_at_ms;
        Ok((at != 0).then_some(at))
    }

    /// Whether what a box sends by itself leaves it idle. With Boxherd it always does.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.boxes().ignore_outbound("web", true).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ignore_outbound(&self, of: &str, ignored: bool) -> Result<(), Error> {
        let asked = api::SetIdleIgnoreOutboundRequest { vm_id: of.to_owned(), enabled: ignored };
        ask!(self.client, Changes, set_idle_ignore_outbound, asked).map(drop)
    }
}
