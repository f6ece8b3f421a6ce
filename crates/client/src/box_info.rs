//! What a box is to be like, and what a server says of one.

use std::collections::BTreeMap;
use std::time::Duration;

use boxherd_boxd_api as api;
use tonic::Code;

use crate::{Error, MachineSpec, Package};

/// How large a box is to be; what is not said is as the server does it.
///
/// ```no_run
/// use boxherd_client::Sizes;
///
/// let small = Sizes { cpus: Some(1), memory: Some(256 << 20), ..Sizes::default() };
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// At most this many processors.
    pub cpus: Option<u32>,
    /// At most this much memory, in bytes.
    pub memory: Option<u64>,
    /// At most this much disk, in bytes.
    pub disk: Option<u64>,
}

impl Sizes {
    pub(crate) fn config(self) -> api::VmConfig {
        api::VmConfig {
            vcpu: self.cpus.unwrap_or(0),
            memory_bytes: self.memory.unwrap_or(0),
            disk_bytes: self.disk.unwrap_or(0),
            ..api::VmConfig::default()
        }
    }
}

/// A disk that a new box mounts.
///
/// ```no_run
/// use boxherd_client::{NewBox, Volume};
///
/// let data = Volume { disk: "data".to_owned(), path: "/srv".to_owned(), read_only: false };
/// let web = NewBox { volumes: vec![data], ..NewBox::named("web") };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The disk, by name or id.
    pub disk: String,
    /// Where in the box.
    pub path: String,
    /// Nothing can be written.
    pub read_only: bool,
}

/// Seconds as the wire has them. Less than one is not none, and never 0.
pub(crate) fn seconds(time: Duration) -> Result<u32, Error> {
    let whole = time.as_secs().max(u64::from(!time.is_zero()));
    whole.try_into().map_err(|_| {
        let message = format!("{whole} s is too long: at most {} s", u32::MAX);
        Error::of(Code::InvalidArgument, message)
    })
}

fn limit(seconds: u32) -> Option<Duration> {
    (seconds != 0).then(|| Duration::from_secs(seconds.into()))
}

/// A box that is to be made; what is not said is as the server does it.
///
/// ```no_run
/// use boxherd_client::NewBox;
///
/// let small = NewBox { memory: Some(256 << 20), ..NewBox::named("small") };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewBox {
    /// Its name; empty, and the server makes one up.
    pub name: String,
    /// What to boot from; empty, and it is the server's default.
    pub image: String,
    /// What it runs besides its agent.
    pub cmd: Vec<String>,
    /// Variables of what it runs.
    pub env: BTreeMap<String, String>,
    /// When what it runs ends: `never`, `on-failure` or `always`; empty is `never`.
    pub restart: String,
    /// At most this many processors.
    pub cpus: Option<u32>,
    /// At most this much memory, in bytes.
    pub memory: Option<u64>,
    /// At most this much disk, in bytes.
    pub disk: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Disks that it mounts from its first start on.
    pub volumes: Vec<Volume>,
    /// Ways into it by HTTP, besides the one that leads to it by its own name: a name and a port.
    pub proxies: Vec<(String, u16)>,
    /// Suspend it when nobody used it for so long, in whole seconds.
    pub suspend_after_idle: Option<Duration>,
    /// Delete it when it is so old, in whole seconds.
    pub delete_after: Option<Duration>,
    /// The network it is in; `None` for the user's own.
    pub network: Option<String>,
    /// It sees no other box.
    pub isolated: bool,
    /// A document that says its size, labels, networks and variables, which are then said only there.
    pub spec: Option<MachineSpec>,
    /// All that a box of Boxherd can be, as JSON: the fields of `boxherd create --spec`, and what of them is
    /// also among these fields is then said only there. Only servers of Boxherd can be told.
    pub document: Option<String>,
    /// Which engine of a Boxherd server makes it.
    pub engine: Option<String>,
}

impl NewBox {
    /// With this name, and everything else as the server does it.
    ///
    /// ```no_run
    /// let web = boxherd_client::NewBox::named("web");
    /// ```
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The same of a copy of the box `of`.
    pub(crate) fn asked_of(self, of: &str) -> Result<api::ForkVmRequest, Error> {
        let asked = self.asked()?;
        let kept = api::CreateVmRequest {
            name: asked.name.clone(),
            config: asked.config.clone(),
            networks: asked.networks.clone(),
            isolated: asked.isolated,
            labels: asked.labels.clone(),
            ..api::CreateVmRequest::default()
        };
        if asked != kept {
            let message = "a copy has the image, the variables and the command of its source";
            return Err(Error::Config(message.to_owned()));
        }
        Ok(api::ForkVmRequest {
            source_vm_id: of.to_owned(),
            name: asked.name,
            config: asked.config,
            networks: asked.networks,
            isolated: asked.isolated,
            labels: asked.labels,
            ..api::ForkVmRequest::default()
        })
    }

    pub(crate) fn asked(self) -> Result<api::CreateVmRequest, Error> {
        let sizes = Sizes { cpus: self.cpus, memory: self.memory, disk: self.disk };
        let volumes = self.volumes.into_iter().map(|volume| api::VolumeMount {
            disk_id: volume.disk,
            mount_path: volume.path,
            read_only: volume.read_only,
        });
        let proxy = |(name, port): (_, u16)| api::ProxyEntry { name, port: port.into() };
        let proxies: Vec<_> = self.proxies.into_iter().map(proxy).collect();
        let timed = self.suspend_after_idle.is_some() || self.delete_after.is_some();
        let timers = api::SrfConfig {
            auto_suspend_timeout_secs: self.suspend_after_idle.map(seconds).transpose()?,
            auto_destroy_timeout_secs: self.delete_after.map_or(Ok(0), seconds)?,
        };
        let config = api::VmConfig {
            srf: timed.then_some(timers),
            network: (!proxies.is_empty()).then_some(api::NetworkConfig { ssh: true, proxies }),
            volumes: volumes.collect(),
            ..sizes.config()
        };
        let variable = |(key, value)| api::EnvVar { key, value };
        Ok(api::CreateVmRequest {
            name: self.name,
            image_ref: self.image,
            env: self.env.into_iter().map(variable).collect(),
            cmd: self.cmd,
            restart_policy: self.restart,
            config: Some(config),
            networks: self.network.into_iter().collect(),
            isolated: self.isolated,
            labels: self.labels.into_iter().collect(),
            spec: self.spec.map(api::MachineSpec::from),
            boxherd_spec: self.document.unwrap_or_default(),
            boxherd_engine: self.engine.unwrap_or_default(),
            ..api::CreateVmRequest::default()
        })
    }
}

/// What a server says of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BoxInfo {
    /// For ever.
    pub id: String,
    /// As it is called now.
    pub name: String,
    /// What it was booted from.
    pub image: String,
    /// `running`, `stopped`, `suspended`, `hibernated`, …
    pub status: String,
    /// Where it is reached.
    pub address: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// At most so many processors; 0 where there is no limit.
    pub cpus: u32,
    /// At most so much memory, in bytes; 0 where there is no limit.
    pub memory: u64,
    /// At most so much disk, in bytes; 0 where there is no limit.
    pub disk: u64,
    /// `never`, `on-failure` or `always`.
    pub restart: String,
    /// The networks that it is in, besides the user's own.
    pub networks: Vec<String>,
    /// Whether it sees no other box.
    pub isolated: bool,
    /// All that it may reach; empty where it may reach everything.
    pub egress: Vec<String>,
    /// It is suspended when nobody used it for so long.
    pub suspend_after_idle: Option<Duration>,
    /// It is hibernated when nobody used it for so long.
    pub hibernate_after_idle: Option<Duration>,
    /// When it is deleted, in milliseconds since 1970.
    pub delete_at_ms: Option<i64>,
    /// The document that it was made from, as it is now.
    pub spec: Option<MachineSpec>,
    /// The commands of the document.
    pub packages: Vec<Package>,
    /// All that a Boxherd server knows of it, as `boxherd show -o json` prints it; `None` from
    /// others.
    pub document: Option<String>,
}

impl From<api::GetVmResponse> for BoxInfo {
    fn from(vm: api::GetVmResponse) -> Self {
        Self {
            id: vm.vm_id,
            name: vm.name,
            image: vm.image_ref,
            status: vm.status,
            address: vm.public_ip,
            created: vm.created_at,
            labels: vm.labels.into_iter().collect(),
            cpus: vm.vcpu,
            memory: vm.memory_bytes,
            disk: vm.disk_bytes,
            restart: vm.restart_policy,
            networks: vm.networks,
            isolated: vm.isolated,
            egress: vm.egress_allow,
            suspend_after_idle: limit(vm.auto_suspend_timeout_secs),
            hibernate_after_idle: limit(vm.auto_hibernate_timeout_secs),
            delete_at_ms: (vm.delete_at_ms != 0).then_some(vm.delete_at_ms),
            spec: vm.spec.map(MachineSpec::from),
            packages: vm.packages.into_iter().map(Package::from).collect(),
            document: Some(vm.boxherd_status).filter(|document| !document.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_never_none_by_rounding() {
        assert_eq!(seconds(Duration::from_millis(10)), Ok(1));
        assert_eq!(seconds(Duration::ZERO), Ok(0));
        assert!(seconds(Duration::MAX).is_err());
    }

    #[test]
    fn what_is_not_said_is_not_asked() {
        let asked = NewBox::named("web").asked().unwrap();
        assert_eq!(asked.config, Some(api::VmConfig::default()));
        let timed = NewBox { delete_after: Some(Duration::from_secs(9)), ..NewBox::named("web") };
        let timers = timed.asked().unwrap().config.unwrap().srf.unwrap();
        assert_eq!((timers.auto_suspend_timeout_secs, timers.auto_destroy_timeout_secs), (None, 9));
    }
}
