//! The addresses that boxes with an egress list may reach because of an answer.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::question::Pin;
use crate::folder::Folder;
use crate::netlink::{Failed, Socket};
use crate::networks::refused;
use crate::nft::Transaction;
use crate::{Lease, NetError, elements};

/// A pin outlives the answer by at least this, since programs connect some time after they asked,
/// and by at most twice this, so that asking often does not mean pinning often.
const FLOOR: Duration = Duration::from_secs(300);
/// The most pins of one box.
const MAX_PER_BOX: usize = 2048;

/// What was pinned, and until when.
#[derive(Debug)]
pub(super) struct Pins {
    /// Kept open: closing one waits for what has been removed.
    socket: Socket,
    until: HashMap<Place, Instant>,
}

/// Who may reach whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    from: Ipv4Addr,
    to: Ipv4Addr,
    port: Option<u16>,
}

impl Pins {
    pub(super) fn new() -> Result<Self, NetError> {
        let socket = Socket::netfilter().map_err(NetError::kernel("open a netfilter socket"))?;
        Ok(Self { socket, until: HashMap::new() })
    }

    /// Lets a box reach what an answer says. When this returns, it can.
    pub(super) fn pin(
        &mut self,
        folder: &Folder,
        lease: &Lease,
        pins: &[Pin],
    ) -> Result<(), NetError> {
        let now = Instant::now();
        self.until.retain(|_, until| *until > now);
        let place = |pin: &Pin| Place { from: lease.address(), to: pin.to, port: pin.port };
        let stale = |pin: &&Pin| {
            let needed = now + Duration::from_secs(pin.ttl.into()) + FLOOR;
            self.until.get(&place(pin)).is_none_or(|until| *until < needed)
        };
        let stale: Vec<Pin> = pins.iter().filter(stale).copied().collect();
        let held = self.until.keys().filter(|place| place.from == lease.address()).count();
        if stale.is_empty() {
            return Ok(());
        }
        if held + stale.len() > MAX_PER_BOX {
            let full = io::Error::other(format!("the box has {held} pins, and may have no more"));
            return Err(NetError::kernel("pin an answer")(full));
        }
        self.renew(lease, &stale)?;
        if folder.lease(lease.id)?.as_ref() != Some(lease) {
            // The box was released meanwhile, and with it the pins that were there before.
            return self.remove(lease, &stale);
        }
        self.until.extend(stale.iter().map(|pin| (place(pin), now + lifetime(pin))));
        Ok(())
    }

    /// Adds pins with their full time. One that is there keeps its old time, so it is removed in the
    /// same transaction, and for that must be there.
    fn renew(&self, lease: &Lease, pins: &[Pin]) -> Result<(), NetError> {
        let elements: Vec<_> = pins.iter().map(|pin| element(lease, pin)).collect();
        let mut transaction = Transaction::new(lease.anchor());
        transaction.add(&elements).remove(&elements).add(&elements);
        transaction.commit_by(&self.socket).map_err(refused)
    }

    fn remove(&self, lease: &Lease, pins: &[Pin]) -> Result<(), NetError> {
        let elements: Vec<_> = pins.iter().map(|pin| element(lease, pin)).collect();
        let mut transaction = Transaction::new(lease.anchor());
        transaction.remove(&elements);
        match transaction.commit_by(&self.socket) {
            Err(Failed { errno: Errno::NOENT, .. }) => Ok(()),
            removed => removed.map_err(refused),
        }
    }
}

fn lifetime(pin: &Pin) -> Duration {
    Duration::from_secs(pin.ttl.into()) + 2 * FLOOR
}

fn element(lease: &Lease, pin: &Pin) -> elements::Element {
    let milliseconds = lifetime(pin).as_millis() as u64;
    elements::pinned(lease, pin.to, pin.port, milliseconds)
}
