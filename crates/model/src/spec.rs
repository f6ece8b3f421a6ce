//! What a user asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::serde_as_text;
use crate::{
    BoxName, ByteSize, Capability, CloudInit, ImageRef, MemberName, NetworkSpec, ProfileName,
};

/// Labels of a box: short texts that selectors match. Keys and values are free text without
/// newlines; the front doors bound their length.
pub type Labels = BTreeMap<String, String>;

/// Processes and threads that a box may have at once when its spec says nothing.
pub const DEFAULT_PIDS: u32 = 4096;

/// Everything that is fixed when a box is made. An engine that cannot honour a field refuses the
/// spec and names the [`Capability`]; see [`BoxSpec::needs`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxSpec {
    /// What the box is called, which is also its host name.
    pub name: BoxName,
    /// What it boots from.
    #[serde(default = "ImageRef::host")]
    pub image: ImageRef,
    /// The main program, as argv; the box idles when it is empty.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// The environment of `cmd` and of every exec.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The working directory of `cmd` and of every exec; the image's own, else `/`.
    #[serde(default)]
    pub workdir: Option<String>,
    /// Whom `cmd` and every exec run as: a name or a number inside the box; the image's own, else
    /// root.
    #[serde(default)]
    pub user: Option<String>,
    /// What the box may use of the host.
    #[serde(default)]
    pub limits: Limits,
    /// What it may reach.
    #[serde(default)]
    pub network: NetworkSpec,
    /// How it is held apart from the host's kernel.
    #[serde(default)]
    pub isolation: Isolation,
    /// User namespaces and mounts inside the box, for Docker, bubblewrap or systemd in it.
    #[serde(default)]
    pub nesting: bool,
    /// Profiles of the server, in whose order later ones win; none is its profile `default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<ProfileName>,
    /// User data for cloud-init of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// The member of a cluster that gets it; the cluster chooses when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<MemberName>,
    /// A virtual machine, with a kernel of its own, and not a container.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vm: bool,
    /// What happens when `cmd` ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// What happens to the box by itself when time passes.
    #[serde(default)]
    pub timers: Timers,
    /// Free text that selectors match.
    #[serde(default)]
    pub labels: Labels,
    /// The box is deleted when its maker is done with it, or dies.
    #[serde(default)]
    pub ephemeral: bool,
}

impl BoxSpec {
    /// A box of that name with every default.
    #[must_use]
    pub fn new(name: BoxName) -> Self {
        Self {
            name,
            image: ImageRef::host(),
            cmd: Vec::new(),
            env: BTreeMap::new(),
            workdir: None,
            user: None,
            limits: Limits::default(),
            network: NetworkSpec::default(),
            isolation: Isolation::default(),
            nesting: false,
            profiles: Vec::new(),
            cloud_init: None,
            target: None,
            vm: false,
            restart: RestartPolicy::default(),
            timers: Timers::default(),
            labels: Labels::new(),
            ephemeral: false,
        }
    }

    /// The fields that cannot be honoured without a capability, and which it is. A default that the
    /// user did not write (the default network, the default limits) is a wish and needs none.
    #[must_use]
    pub fn needs(&self) -> Vec<(&'static str, Capability)> {
        let custom_egress = matches!(&self.network, NetworkSpec::Bridge { egress: Some(_), .. });
        let isolated = matches!(&self.network, NetworkSpec::Bridge { isolated: true, .. });
        let wanted = [
            (self.image != ImageRef::host(), "image", Capability::Images),
            (self.limits.memory.is_some(), "memory", Capability::MemoryLimit),
            (self.limits.pids.is_some(), "pids", Capability::PidsLimit),
            (self.limits.cpus.is_some(), "cpus", Capability::CpuLimit),
            (self.limits.disk.is_some(), "disk", Capability::DiskLimit),
            (custom_egress, "egress", Capability::Egress),
            (isolated, "isolated", Capability::PrivateNetworks),
            (
                self.network != NetworkSpec::None && self.network != NetworkSpec::default(),
                "network",
                Capability::Network,
            ),
            (self.isolation == Isolation::Gvisor, "isolation", Capability::Gvisor),
            (self.nesting, "nesting", Capability::Nesting),
            (!self.profiles.is_empty(), "profile", Capability::Profiles),
            (self.cloud_init.is_some(), "cloud-init", Capability::CloudInit),
            (self.target.is_some(), "target", Capability::Placement),
            (self.vm, "vm", Capability::VirtualMachines),
            (self.user.as_deref().is_some_and(is_another_user), "user", Capability::Uids),
        ];
        wanted.iter().filter(|(asked, ..)| *asked).map(|(_, op, needed)| (*op, *needed)).collect()
    }
}

/// Whether `NAME`, `UID`, `NAME:GROUP` or `UID:GID` names anybody but root.
#[must_use]
pub fn is_another_user(user: &str) -> bool {
    user.split(':').any(|part| part != "root" && part != "0")
}

/// What a box may use. `None` leaves the engine's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of all its processes and caches. Beyond it every process of the box is killed.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// Processor time per second of wall time.
    #[serde(default)]
    pub cpus: Option<CpuLimit>,
    /// Processes and threads at once; [`DEFAULT_PIDS`] when nothing is said.
    #[serde(default)]
    pub pids: Option<u32>,
    /// The writable layer.
    #[serde(default)]
    pub disk: Option<ByteSize>,
}

/// Processors, in thousandths; written `2`, `0.5` or `1.25`. At least 0.01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuLimit(u32);

/// The text is not a number of processors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number of processors, use 0.01 to 4096 with at most three decimals")]
pub struct CpuLimitError(String);

impl CpuLimit {
    /// Thousandths of a processor.
    #[must_use]
    pub const fn millis(self) -> u32 {
        self.0
    }
}

impl FromStr for CpuLimit {
    type Err = CpuLimitError;

    fn from_str(text: &str) -> Result<Self, CpuLimitError> {
        let refused = || CpuLimitError(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
            return Err(refused());
        }
        let whole: u32 = whole.parse().map_err(|_| refused())?;
        let fraction: u32 = format!("{fraction:0<3}").parse().map_err(|_| refused())?;
        let millis = whole.checked_mul(1000).and_then(|w| w.checked_add(fraction));
        millis.filter(|m| (10..=4_096_000).contains(m)).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for CpuLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1000, self.0 % 1000);
        if fraction == 0 {
            return f.pad(&whole.to_string());
        }
        f.pad(format!("{whole}.{fraction:03}").trim_end_matches('0'))
    }
}

serde_as_text!(CpuLimit);

/// What happens to a box by itself when time passes. Served by a server (`boxherd serve`), which is
/// there to watch the clock. In seconds; `None` is never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timers {
    /// Suspended after so long without use: no exec, log, proxy or forward open, no byte coming in.
    pub suspend_after_idle: Option<u32>,
    /// Hibernated after so long without use.
    pub hibernate_after_idle: Option<u32>,
    /// Deleted so long after it was made.
    pub delete_after: Option<u64>,
    /// Deleted at this time.
    pub delete_at: Option<crate::Timestamp>,
    /// What that time was made of.
    pub deadline: Option<Deadline>,
}

/// When a box is to be deleted, counted from when that is said: of a copy, from when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deadline {
    /// After so many seconds.
    In(u64),
    /// At the next match of a cron expression of five fields, UTC.
    Cron(String),
}

/// How a box is held apart from the host's kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces, an own uid range, seccomp and cgroups.
    #[default]
    Namespaces,
    /// The gVisor kernel (`runsc`).
    Gvisor,
}

/// What happens when `cmd` ends. The agent restarts it with a growing pause. A box that runs out of
/// memory ends whole, agent included, and stays stopped under every policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// The box stops. After a reboot of the host it stays stopped.
    #[default]
    Never,
    /// `cmd` starts again if it failed, at most `max_retries` times in a row; then the box stops.
    OnFailure {
        /// How often in a row.
        max_retries: u32,
    },
    /// `cmd` starts again whatever it returned, and the box starts again after a reboot.
    Always,
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.pad("never"),
            Self::OnFailure { max_retries } => f.pad(&format!("on-failure:{max_retries}")),
            Self::Always => f.pad("always"),
        }
    }
}

/// The text is none of the restart policies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no restart policy, use `never`, `on-failure`, `on-failure:N` or `always`")]
pub struct RestartPolicyError(String);

impl FromStr for RestartPolicy {
    type Err = RestartPolicyError;

    fn from_str(text: &str) -> Result<Self, RestartPolicyError> {
        let refused = || RestartPolicyError(text.to_owned());
        match text.split_once(':') {
            None if text == "never" => Ok(Self::Never),
            None if text == "always" => Ok(Self::Always),
            None if text == "on-failure" => Ok(Self::OnFailure { max_retries: u32::MAX }),
            Some(("on-failure", count)) => {
                count.parse().map(|n| Self::OnFailure { max_retries: n }).map_err(|_| refused())
            }
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_spec_with_defaults_needs_nothing() {
        assert!(BoxSpec::new("a".parse().unwrap()).needs().is_empty());
    }

    #[test]
    fn what_is_asked_for_is_needed() {
        let mut spec = BoxSpec::new("a".parse().unwrap());
        spec.limits.disk = Some(ByteSize::from_mib(1));
        spec.nesting = true;
        let name = crate::NetworkName::default_network();
        spec.network = NetworkSpec::Bridge { name, isolated: true, egress: None };
        assert_eq!(
            spec.needs(),
            [
                ("disk", Capability::DiskLimit),
                ("isolated", Capability::PrivateNetworks),
                ("network", Capability::Network),
                ("nesting", Capability::Nesting)
            ]
        );
    }

    #[test]
    fn what_only_servers_have_is_needed_and_not_said_where_it_is_not_asked_for() {
        let plain = BoxSpec::new("a".parse().unwrap());
        let text = serde_json::to_string(&plain).unwrap();
        for field in ["profiles", "cloud_init", "target", "vm"] {
            assert!(!text.contains(field), "{field}: an older server would refuse it");
        }
        let spec = BoxSpec {
            profiles: vec!["default".parse().unwrap(), "web".parse().unwrap()],
            cloud_init: Some("#!/bin/sh\n".parse().unwrap()),
            target: Some("n1".parse().unwrap()),
            vm: true,
            ..plain
        };
        assert_eq!(
            spec.needs(),
            [
                ("profile", Capability::Profiles),
                ("cloud-init", Capability::CloudInit),
                ("target", Capability::Placement),
                ("vm", Capability::VirtualMachines),
            ]
        );
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<BoxSpec>(&text).unwrap(), spec);
        let bad = text.replace("#!/bin/sh", "bin/sh");
        assert!(
            serde_json::from_str::<BoxSpec>(&bad).unwrap_err().to_string().contains("cloud-init")
        );
    }

    #[test]
    fn unknown_fields_are_refused() {
        let refused = serde_json::from_str::<BoxSpec>(r#"{"name":"a","memroy":"1G"}"#).unwrap_err();
        assert!(refused.to_string().contains("memroy"), "{refused}");
    }

    #[test]
    fn processors_have_edges() {
        assert_eq!("0.5".parse::<CpuLimit>().unwrap().millis(), 500);
        assert_eq!("2".parse::<CpuLimit>().unwrap().to_string(), "2");
        assert_eq!("1.25".parse::<CpuLimit>().unwrap().to_string(), "1.25");
        for text in ["", "0", "0.001", "-1", "1.", ".5", "1e3", "4097", "1.2345", "99999999999"] {
            assert!(text.parse::<CpuLimit>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn processors_print_as_they_parse(millis in 10u32..=4_096_000) {
            prop_assert_eq!(CpuLimit(millis).to_string().parse(), Ok(CpuLimit(millis)));
        }
    }
}
