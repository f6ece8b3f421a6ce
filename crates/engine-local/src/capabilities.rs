//! What this host lets boxes do, and why not the rest.

use boxherd_engine::{EngineError, Unsupported};
use boxherd_model::{Capability, CapabilitySet};

use crate::cgroup::Controller;
use crate::core::Core;
use crate::{sandbox, subids};

/// What was probed, once.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    pub(crate) set: CapabilitySet,
    missing: Vec<(Capability, String)>,
}

/// Whether boxes have a capability here; if not, why.
pub(crate) fn look(core: &Core, capability: Capability) -> Result<(), String> {
    match capability {
        Capability::Suspend => controller(core, Controller::Freezer),
        Capability::MemoryLimit => controller(core, Controller::Memory),
        Capability::PidsLimit => controller(core, Controller::Pids),
        Capability::CpuLimit => controller(core, Controller::Cpu),
        Capability::DiskLimit => core.pool.can_limit(),
        Capability::Network | Capability::PrivateNetworks | Capability::Egress => network(core),
        Capability::Fork | Capability::Snapshot | Capability::Images => Ok(()),
        Capability::Disks => disks(core),
        Capability::Uids => uids(core),
        Capability::Nesting => nesting(core),
        Capability::Gvisor => gvisor(core),
        // Of boxes with gVisor. CRIU, of which `doctor` tells, is not driven.
        Capability::LiveFork | Capability::Hibernate => gvisor(core),
        Capability::Profiles => Err("profiles are a server's, of LXD or Incus".to_owned()),
        Capability::CloudInit => Err("boxes of this machine run no cloud-init".to_owned()),
        Capability::Placement => Err("there is only this machine, and no cluster".to_owned()),
        Capability::VirtualMachines => Err("boxes of this machine have its kernel".to_owned()),
        _ => Err("this engine does not know it".to_owned()),
    }
}

/// Users of their own in boxes, besides root.
fn uids(core: &Core) -> Result<(), String> {
    let user = rustix::process::getuid().as_raw();
    match core.uids.is_some() || subids::of_user(user).is_some() {
        true => Ok(()),
        false => Err(format!(
            "boxes have one user, root, which is you outside: `/etc/subuid` and `/etc/subgid` \
             give nothing to user {user}; `usermod --add-subuids` and `--add-subgids` do"
        )),
    }
}

fn disks(core: &Core) -> Result<(), String> {
    match core.uids {
        Some(_) => crate::disks::available(),
        None => Err("only root may mount filesystems of their own".to_owned()),
    }
}

fn gvisor(core: &Core) -> Result<(), String> {
    match core.uids {
        Some(_) => sandbox::is_here().map(drop),
        None => Err("boxes with gVisor are root's to make".to_owned()),
    }
}

fn nesting(core: &Core) -> Result<(), String> {
    match core.uids {
        Some(_) => Ok(()),
        None => Err("only boxes that root made may make boxes".to_owned()),
    }
}

impl Probed {
    pub(crate) fn probe(core: &Core) -> Self {
        let mut probed = Self { set: CapabilitySet::default(), missing: Vec::new() };
        let mut present = Vec::new();
        for capability in Capability::ALL {
            match look(core, capability) {
                Ok(()) => present.push(capability),
                Err(reason) => probed.missing.push((capability, reason)),
            }
        }
        probed.set = present.into_iter().collect();
        probed
    }

    pub(crate) fn why_not(&self, capability: Capability) -> String {
        let reason = self.missing.iter().find(|(missing, _)| *missing == capability);
        reason.map_or_else(|| "it works here".to_owned(), |(_, reason)| reason.clone())
    }
}

fn controller(core: &Core, controller: Controller) -> Result<(), String> {
    match &core.hierarchies {
        None => Err("this process may not make control groups; run as root".to_owned()),
        Some(hierarchies) if hierarchies.has(controller) => Ok(()),
        Some(_) => {
            let name = controller.as_str();
            Err(format!("no mounted cgroup hierarchy has the controller `{name}`"))
        }
    }
}

fn network(core: &Core) -> Result<(), String> {
    core.networks.available().map_err(|error| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}

/// The error for a call that needs control groups where there are none.
pub(crate) fn missing(op: &'static str, capability: Capability) -> EngineError {
    let reason = "this process may not make control groups; run as root".to_owned();
    Unsupported { op, capability, reason }.into()
}
