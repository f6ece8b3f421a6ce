//! The flags from which a spec is made.

use std::path::PathBuf;

use boxherd_model::{
    BoxSpec, ByteSize, CpuLimit, EgressRule, EngineName, ImageRef, Isolation, MemberName,
    NetworkName, NetworkSpec, ProfileName, RestartPolicy,
};
use clap::Args;

use super::values::{self, Label, VolumeArg};

/// What a new box is like; `run` and `create` take these.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Box options")]
pub(crate) struct BoxFlags {
    /// What to boot from: `host`, `debian:CODENAME`, a registry's image, or one that was imported
    #[arg(long)]
    pub(crate) image: Option<ImageRef>,
    /// Which engine makes it
    #[arg(long)]
    pub(crate) engine: Option<EngineName>,
    /// Where commands run, a path in the box
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// As whom commands run: `NAME`, `UID` or either with `:GROUP`
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// At most this much memory, such as `512M`
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// At most this many processors, such as `1.5`
    #[arg(long, value_name = "COUNT")]
    pub(crate) cpus: Option<CpuLimit>,
    /// At most this many processes and threads
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pids: Option<u32>,
    /// At most this much disk, such as `10GiB`
    #[arg(long, value_name = "SIZE")]
    pub(crate) disk: Option<ByteSize>,
    /// Mount a disk (`boxherd disk`), with `:ro` so that nothing is written; may be given several
    /// times
    #[arg(long = "volume", value_name = "DISK:PATH[:ro]")]
    pub(crate) volumes: Vec<VolumeArg>,
    /// Which network, or `none` for loopback only
    #[arg(long, value_name = "NAME|none")]
    pub(crate) network: Option<NetworkName>,
    /// See no other box on the network
    #[arg(long)]
    pub(crate) isolated: bool,
    /// Reach only this, and nothing else; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) egress: Vec<EgressRule>,
    /// What stands between the box and the host
    #[arg(long, value_name = "KIND", value_parser = values::isolation)]
    pub(crate) isolation: Option<Isolation>,
    /// Allow user namespaces and mounts inside, for containers in the box
    #[arg(long)]
    pub(crate) nesting: bool,
    /// A profile of the server, in place of its `default`; may be given several times, and later ones
    /// win
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<ProfileName>,
    /// User data for cloud-init of the image, which begin as `#cloud-config` or `#!`; `-` for standard
    /// input
    #[arg(long, value_name = "FILE")]
    pub(crate) cloud_init: Option<PathBuf>,
    /// The member of the cluster that gets it, or `@GROUP`; the cluster chooses when not given
    #[arg(long, value_name = "MEMBER")]
    pub(crate) target: Option<MemberName>,
    /// A virtual machine, with a kernel of its own
    #[arg(long)]
    pub(crate) vm: bool,
    /// When its command ends: `never`, `on-failure`, `on-failure:N` or `always`
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<RestartPolicy>,
    /// A label; may be given several times
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<Label>,
}

/// A network flag beside a network of `none`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`--network none` leaves nothing to restrict with `--isolated` or `--egress`")]
pub(crate) struct NothingToRestrict;

impl BoxFlags {
    /// Lays the flags that were given over `spec`, but those with files: volumes and user data.
    pub(crate) fn apply(self, spec: &mut BoxSpec) -> Result<(), NothingToRestrict> {
        self.apply_network(&mut spec.network)?;
        set(&mut spec.image, self.image);
        set(&mut spec.isolation, self.isolation);
        set(&mut spec.restart, self.restart);
        spec.workdir = self.workdir.or(spec.workdir.take());
        spec.user = self.user.or(spec.user.take());
        let limits = &mut spec.limits;
        limits.memory = self.memory.or(limits.memory);
        limits.cpus = self.cpus.or(limits.cpus);
        limits.pids = self.pids.or(limits.pids);
        limits.disk = self.disk.or(limits.disk);
        spec.nesting |= self.nesting;
        if !self.profiles.is_empty() {
            spec.profiles = self.profiles;
        }
        spec.target = self.target.or(spec.target.take());
        spec.vm |= self.vm;
        spec.labels.extend(self.labels.into_iter().map(|label| (label.key, label.value)));
        Ok(())
    }

    fn apply_network(&self, network: &mut NetworkSpec) -> Result<(), NothingToRestrict> {
        match &self.network {
            Some(name) if name.as_str() == "none" => *network = NetworkSpec::None,
            Some(name) => {
                let name = name.clone();
                *network = NetworkSpec::Bridge { name, isolated: false, egress: None };
            }
            None => {}
        }
        let restricts = self.isolated || !self.egress.is_empty();
        match network {
            NetworkSpec::None if restricts => Err(NothingToRestrict),
            NetworkSpec::None => Ok(()),
            NetworkSpec::Bridge { isolated, egress, .. } => {
                *isolated |= self.isolated;
                if !self.egress.is_empty() {
                    *egress = Some(self.egress.clone());
                }
                Ok(())
            }
        }
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
