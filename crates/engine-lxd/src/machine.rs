//! Virtual machines: nothing is in them for us until their own `lxd-agent` answers, by which the server runs
//! programs and reads files there.
//!
//! ```text
//!  started ──────► its kernel boots ──────► `lxd-agent` answers ──────► our agent, as in a container
//!          nobody counts its processes (-1)                   they are counted
//! ```

use std::time::Duration;

use boxherd_engine::{EngineError, TruthState};
use boxherd_lxd_client::{Instance, InstanceInfo, InstanceKind};
use boxherd_model::BoxId;
use tokio::time::Instant;

use crate::error::failed_of;
use crate::state;

/// How long a machine may take to boot.
pub(crate) const LONGEST_BOOT: Duration = Duration::from_secs(300);
/// How long a machine that runs may not answer, as one that was just started by somebody else.
pub(crate) const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// Between looks whether it answers.
const LOOK: Duration = Duration::from_millis(250);

/// Whether an instance is one.
pub(crate) fn is_machine(info: &InstanceInfo) -> bool {
    info.kind == InstanceKind::VirtualMachine
}

/// Whether `lxd-agent` answers: it is who counts the processes.
async fn answers(id: BoxId, instance: &Instance) -> Result<bool, EngineError> {
    let state = instance.state().await.map_err(failed_of(id, "look at the machine"))?;
    Ok(state.processes >= 0)
}

/// Waits until `lxd-agent` of a machine that runs answers.
pub(crate) async fn until_it_answers(
    id: BoxId,
    instance: &Instance,
    patience: Duration,
) -> Result<(), EngineError> {
    let until = Instant::now() + patience;
    while !answers(id, instance).await? {
        let info = instance.get().await.map_err(failed_of(id, "look at the machine"))?;
        let found = match state::state(&info) {
            TruthState::Running => None,
            TruthState::Suspended => Some("suspended"),
            _ => Some("stopped"),
        };
        if let Some(found) = found {
            return Err(EngineError::WrongState { op: "connect", found });
        }
        if Instant::now() >= until {
            return Err(EngineError::Refused {
                step: "wait for the virtual machine".to_owned(),
                source: format!("its `lxd-agent` did not answer within {} s", patience.as_secs())
                    .into(),
                hint: Some(
                    "its image has to have `lxd-agent` (`incus-agent`) in it, and to start it"
                        .to_owned(),
                ),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Why our agent cannot run in an instance, where that can be seen.
pub(crate) fn cannot_run(info: &InstanceInfo) -> Option<String> {
    let (ours, theirs) = (std::env::consts::ARCH, info.architecture.as_str());
    // A container has the kernel of its server, and a 64-bit one runs both.
    let runs_both = ours == "x86_64" && theirs == "i686" && !is_machine(info);
    let runs = theirs.is_empty() || theirs == ours || runs_both;
    (!runs).then(|| format!("it is `{theirs}`, and the agent of this program `{ours}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_put_where_it_runs() {
        let of = |architecture: &str, kind| {
            let architecture = architecture.to_owned();
            cannot_run(&InstanceInfo { architecture, kind, ..InstanceInfo::default() })
        };
        let ours = std::env::consts::ARCH;
        assert_eq!(of(ours, InstanceKind::Container), None);
        assert_eq!(of(ours, InstanceKind::VirtualMachine), None);
        let refused = of("s390x", InstanceKind::Container).unwrap();
        assert!(refused.contains("`s390x`") && refused.contains(ours), "{refused}");
        if ours == "x86_64" {
            assert_eq!(of("i686", InstanceKind::Container), None);
            assert!(of("i686", InstanceKind::VirtualMachine).is_some());
        }
    }
}
