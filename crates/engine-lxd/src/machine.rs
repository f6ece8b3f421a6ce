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
use crate::guest::{self, GuestStream};
use crate::state;

/// How long a machine may take to boot.
const LONGEST_BOOT: Duration = Duration::from_secs(300);
/// How long a machine that runs may not answer, as one that was just started by somebody else.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// Between looks whether it answers.
const LOOK: Duration = Duration::from_millis(250);

/// Connects to the agent of an instance that was just started, once it can be.
pub(crate) async fn boot(
    id: BoxId,
    instance: &Instance,
    info: &InstanceInfo,
) -> Result<Box<GuestStream>, EngineError> {
    check_architecture(info)?;
    if is_machine(info) {
        until_it_answers(id, instance, LONGEST_BOOT).await?;
    }
    guest::connect(id, instance).await
}

/// Connects to the agent of an instance that runs. Nothing is asked ahead: only where it fails is looked
/// at what it is.
pub(crate) async fn connect(
    id: BoxId,
    instance: &Instance,
) -> Result<Box<GuestStream>, EngineError> {
    let error = match guest::connect(id, instance).await {
        Err(error @ EngineError::Refused { .. }) => error,
        connected => return connected,
    };
    let info = instance.get().await.map_err(failed_of(id, "look at the instance"))?;
    check_architecture(&info)?;
    if !is_machine(&info) || answers(id, instance).await? {
        return Err(error);
    }
    until_it_answers(id, instance, LONGEST_SILENCE).await?;
    guest::connect(id, instance).await
}

fn is_machine(info: &InstanceInfo) -> bool {
    info.kind == InstanceKind::VirtualMachine
}

/// Whether `lxd-agent` answers: it is who counts the processes.
async fn answers(id: BoxId, instance: &Instance) -> Result<bool, EngineError> {
    let state = instance.state().await.map_err(failed_of(id, "look at the machine"))?;
    Ok(state.processes >= 0)
}

async fn until_it_answers(
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

/// Refuses to put our agent where it cannot run.
fn check_architecture(info: &InstanceInfo) -> Result<(), EngineError> {
    let (ours, theirs) = (std::env::consts::ARCH, info.architecture.as_str());
    // A container has the kernel of its server, and a 64-bit one runs both.
    let runs_both = ours == "x86_64" && theirs == "i686" && !is_machine(info);
    if theirs.is_empty() || theirs == ours || runs_both {
        return Ok(());
    }
    Err(EngineError::Refused {
        step: "put the agent into the instance".to_owned(),
        source: format!("the instance is `{theirs}`, and the agent of this program `{ours}`")
            .into(),
        hint: Some(format!(
            "use an image for `{ours}`, or a `boxherd` that was built for `{theirs}`"
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_put_where_it_runs() {
        let of = |architecture: &str, kind| {
            let architecture = architecture.to_owned();
            check_architecture(&InstanceInfo { architecture, kind, ..InstanceInfo::default() })
        };
        let ours = std::env::consts::ARCH;
        of(ours, InstanceKind::Container).unwrap();
        of(ours, InstanceKind::VirtualMachine).unwrap();
        let refused = of("s390x", InstanceKind::Container).unwrap_err();
        let source = std::error::Error::source(&refused).unwrap().to_string();
        assert!(source.contains("`s390x`") && source.contains(ours), "{source}");
        if ours == "x86_64" {
            of("i686", InstanceKind::Container).unwrap();
            assert!(of("i686", InstanceKind::VirtualMachine).is_err());
        }
    }
}
