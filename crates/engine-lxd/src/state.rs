//! What the server knows of an instance, as what is true of a box. Pure.

use boxherd_engine::{Truth, TruthState};
use boxherd_lxd_client::InstanceInfo;
use boxherd_model::{BoxId, BoxName, StopReason};

use crate::marks;

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

/// All of it but the addresses.
pub(crate) fn truth(id: BoxId, info: &InstanceInfo) -> Truth {
    // A name that no box has was given by somebody else; ours is what we gave.
    let named = marks::name(info).and_then(|name| name.parse().ok());
    let name = named.or_else(|| info.name.parse().ok());
    let name = name.unwrap_or_else(|| fallback(id));
    let native = marks::native(info);
    let note = |why| format!("the server runs its commands itself, since no agent runs: {why}");
    let notes = native.map(note).into_iter().collect();
    let (addresses, location) = (Vec::new(), location(info));
    Truth { id, name, state: state(info), addresses, notes, location }
}

/// Which member of a cluster has it.
pub(crate) fn location(info: &InstanceInfo) -> Option<String> {
    let nowhere = ["", "none"].contains(&info.location.as_str());
    (!nowhere).then(|| info.location.clone())
}

fn fallback(id: BoxId) -> BoxName {
    id.to_string().parse().expect("an id is a DNS label")
}
