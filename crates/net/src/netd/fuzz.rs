//! What fuzz targets call, with the feature `fuzz`.

use boxherd_model::BoxId;

use super::question::{self, Plan};
use super::{server, upstream};
use crate::names::Tag;
use crate::{Lease, Subnet, rules};

/// Takes `question` as what a box with an egress list sent, and `answer` as what a name server said to
/// it. Any bytes are refused or answered.
///
/// # Panics
///
/// When an address would be opened that no name may open, or the box be told more than it takes.
pub fn dns(question: &[u8], answer: &[u8]) {
    let question = match question::read(question) {
        Some(Ok(question)) => question,
        Some(Err(refusal)) => return drop(refusal.to_vec()),
        None => return,
    };
    let asker = lease();
    match question::plan(&question, &asker, |_| Some(asker.address())) {
        Plan::Answer(message, _) => drop(message.to_vec()),
        Plan::Forward => forwarded(&question, &asker, answer),
    }
}

fn forwarded(question: &question::Question, asker: &Lease, answer: &[u8]) {
    let id = answer.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let Some(found) = upstream::accept(question, id, answer) else { return };
    let (message, pins) = question::narrow(question, asker, &found.message);
    for pin in pins {
        assert!(!rules::never(pin.to) && !asker.subnet.holds(pin.to), "{} is opened", pin.to);
    }
    let relayed = server::relayed(question, found.bytes);
    for bytes in [message.to_vec().unwrap_or_default(), relayed] {
        let told = server::fit(bytes, Some(question.clone()));
        assert!(told.len() <= usize::from(question.payload).max(512), "{} bytes", told.len());
    }
}

/// A box that may reach two names.
fn lease() -> Lease {
    let rules = ["a.b:443", "example.com"];
    Lease {
        id: BoxId::new(),
        name: "web".parse().expect("a name"),
        network: "default".parse().expect("a name"),
        tag: Tag::of("1a2b3"),
        index: 0,
        subnet: Subnet::of_pool(0),
        slot: 2,
        mtu: 1500,
        isolated: false,
        egress: Some(rules.iter().map(|rule| rule.parse().expect("a rule")).collect()),
    }
}
