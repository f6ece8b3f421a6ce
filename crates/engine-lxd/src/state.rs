//! What the server knows of an instance, as what is true of a box. Pure.

use std::net::IpAddr;

use boxherd_engine::{Truth, TruthState};
use boxherd_lxd_client::InstanceInfo;
use boxherd_model::{BoxId, BoxName, StopReason};

const RUNNING: u16 = 103;
const FREEZING: u16 = 109;
const FROZEN: u16 = 110;
/// What the server remembers to have had running.
const LAST_POWER: &str = "volatile.last_state.power";

/// Where an instance stands. What is on its way counts as what it comes from: whoever asks then hears
/// of the change later.
pub(crate) fn state(info: &InstanceInfo) -> TruthState {
    match info.status_code {
        RUNNING | FREEZING => TruthState::Running,
        FROZEN => TruthState::Suspended,
        // What the server had last, when it did not stop the instance itself.
        _ if info.config.get(LAST_POWER).is_some_and(|power| power == "RUNNING") => {
            TruthState::Stopped(StopReason::HostReboot)
        }
        // By us, by somebody else at the server, or from inside.
        _ => TruthState::Stopped(StopReason::Requested),
    }
}

pub(crate) fn truth(id: BoxId, info: &InstanceInfo, addresses: Vec<IpAddr>) -> Option<Truth> {
    // Who gave it another name gave it one that it cannot have here.
    let name: BoxName = info.name.parse().ok()?;
    Some(Truth { id, name, state: state(info), addresses })
}
