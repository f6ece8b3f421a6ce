//! Ports of the host that lead to ports of boxes, for what is not HTTP. They are things of the box and
//! go with it. Who listens is told what there is ([`Herd::all_forwards`]) and when to ask again.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use boxherd_model::{Address, BoxId, BoxName};
use boxherd_store::{BoxRecord, ThingKind, ThingRecord};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::belongings::read;
use crate::{Herd, HerdError};

/// Forwards that a box may have.
const MOST: usize = 3;
/// How long is waited until somebody listens at a port.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl FromStr for Protocol {
    type Err = HerdError;

    fn from_str(text: &str) -> Result<Self, HerdError> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text).ok_or_else(|| {
            HerdError::Invalid { field: "protocol", reason: "it is neither `tcp` nor `udp`".into() }
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a server offers ports of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardRange {
    /// Where it listens.
    pub address: IpAddr,
    /// The ports.
    pub ports: RangeInclusive<u16>,
}

impl FromStr for ForwardRange {
    type Err = String;

    /// `ADDRESS:FROM-TO`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (address, ports) = text.rsplit_once(':')?;
            let address = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
            let (from, to) = ports.split_once('-')?;
            let ports: RangeInclusive<u16> = from.parse().ok()?..=to.parse().ok()?;
            (*ports.start() > 0 && !ports.is_empty()).then_some(Self { address, ports })
        };
        parsed().ok_or_else(|| "it is not `ADDRESS:FROM-TO`, as `127.0.0.1:20000-20999`".to_owned())
    }
}

/// A port of the host that leads to a port of a box.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Forward {
    /// The box.
    pub of: BoxId,
    /// The box, by name.
    pub box_name: BoxName,
    /// The box, by address; where datagrams go.
    pub address: Option<Ipv4Addr>,
    /// Its port.
    pub port: u16,
    /// The host's port.
    pub public: u16,
    /// What is carried.
    pub protocol: Protocol,
}

/// What is kept of a forward.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    port: u16,
    public: u16,
    udp: bool,
}

/// What the clones of a herd share about forwards.
#[derive(Debug)]
pub(crate) struct Forwards {
    range: OnceLock<ForwardRange>,
    /// Held while a port is chosen.
    choosing: Mutex<()>,
    /// How often forwards changed.
    changes: watch::Sender<u64>,
    /// Up to which of the changes the ports are listened at.
    served: watch::Sender<u64>,
}

impl Default for Forwards {
    fn default() -> Self {
        let (changes, served) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { range: OnceLock::new(), choosing: Mutex::default(), changes, served }
    }
}

impl Forwards {
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Waits until somebody listens at what was offered so far, so that whoever asked for a port can
    /// use it; but not for long, because where another program has it nobody will.
    async fn served(&self) {
        if self.changes.receiver_count() == 0 {
            return;
        }
        let mut served = self.served.subscribe();
        let now = *self.changes.borrow();
        let all = served.wait_for(|served| *served >= now);
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("nobody listens yet at a port that was offered");
        }
    }
}

impl Herd {
    /// Offers ports of the host, to whom a listener is to be given by the caller. Only the first call
    /// counts.
    pub fn offer_ports(&self, range: ForwardRange) {
        self.forwards.range.get_or_init(|| range);
    }

    /// Leads a port of the host to a port of a box. The same asked again is the same forward.
    pub async fn forward(
        &self,
        address: &Address,
        port: u16,
        protocol: Protocol,
    ) -> Result<Forward, HerdError> {
        let Some(range) = self.forwards.range.get() else {
            let hint = "start it with `--forward-listen`";
            return Err(HerdError::NotOffered { what: "ports of its host", hint });
        };
        if port == 0 {
            let reason = "a port is from 1 to 65535".to_owned();
            return Err(HerdError::Invalid { field: "port", reason });
        }
        let record = self.find(address).await?;
        if protocol == Protocol::Udp && self::address(&record).is_none() {
            let reason = "datagrams need an address of the box, and it has none".to_owned();
            return Err(HerdError::Invalid { field: "protocol", reason });
        }
        let _choosing = self.forwards.choosing.lock().await;
        let things = self.store.things_of(ThingKind::Forward, record.id).await?;
        let own = things.iter().map(|thing| forward(&record, thing));
        let own = own.collect::<Result<Vec<_>, _>>()?;
        if let Some(known) = own.iter().find(|own| (own.port, own.protocol) == (port, protocol)) {
            return Ok(known.clone());
        }
        if own.len() >= MOST {
            return Err(HerdError::Quota { quota: "forwards of a box", limit: MOST.to_string() });
        }
        let public = self.free_port(range, protocol).await?;
        let body = Body { port, public, udp: protocol == Protocol::Udp };
        let name = format!("{protocol}/{port}");
        let thing = self.acquire(ThingKind::Forward, Some(record.id), &name, &body).await?;
        self.forwards.changed();
        self.forwards.served().await;
        forward(&record, &thing)
    }

    /// Takes a forward to that port of a box away.
    pub async fn unforward(&self, address: &Address, port: u16) -> Result<Forward, HerdError> {
        let record = self.find(address).await?;
        for thing in self.store.things_of(ThingKind::Forward, record.id).await? {
            let known = forward(&record, &thing)?;
            if known.port == port {
                self.give_up(&thing).await?;
                self.forwards.changed();
                return Ok(known);
            }
        }
        Err(HerdError::NoSuch { what: "forward", name: port.to_string() })
    }

    /// The forwards of a box.
    pub async fn forwards(&self, address: &Address) -> Result<Vec<Forward>, HerdError> {
        let record = self.find(address).await?;
        let things = self.store.things_of(ThingKind::Forward, record.id).await?;
        things.iter().map(|thing| forward(&record, thing)).collect()
    }

    /// Every forward of a box that the caller sees.
    pub async fn all_forwards(&self) -> Result<Vec<Forward>, HerdError> {
        let mut all = Vec::new();
        for thing in self.store.things(ThingKind::Forward).await? {
            let Some(of) = thing.of else { continue };
            let record = self.store.box_by_id(of).await?;
            if let Some(record) = record.filter(|record| self.caller.sees(record.owner)) {
                all.push(forward(&record, &thing)?);
            }
        }
        Ok(all)
    }

    /// Tells when [`all_forwards`](Self::all_forwards) may say something else, as far as this process
    /// knows.
    #[must_use]
    pub fn forward_changes(&self) -> watch::Receiver<u64> {
        self.forwards.changes.subscribe()
    }

    /// Whoever listens has done so since that change.
    pub fn forwards_are_served(&self, since: u64) {
        self.forwards.served.send_replace(since);
    }

    /// A port that leads nowhere yet, and that no other program has.
    async fn free_port(&self, range: &ForwardRange, protocol: Protocol) -> Result<u16, HerdError> {
        let things = self.store.things(ThingKind::Forward).await?;
        let taken = things.iter().map(read::<Body>).collect::<Result<Vec<_>, _>>()?;
        let taken: HashSet<_> = taken.into_iter().map(|body| (body.public, body.udp)).collect();
        let free = |port: &u16| {
            let place = (range.address, *port);
            match protocol {
                Protocol::Tcp => {
                    !taken.contains(&(*port, false)) && TcpListener::bind(place).is_ok()
                }
                Protocol::Udp => !taken.contains(&(*port, true)) && UdpSocket::bind(place).is_ok(),
            }
        };
        let limit = || format!("{} to {}", range.ports.start(), range.ports.end());
        let none = || HerdError::Quota { quota: "ports of the host", limit: limit() };
        range.ports.clone().find(free).ok_or_else(none)
    }
}

/// Boxes have no others.
fn address(record: &BoxRecord) -> Option<Ipv4Addr> {
    record.details.addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    })
}

fn forward(record: &BoxRecord, thing: &ThingRecord) -> Result<Forward, HerdError> {
    let Body { port, public, udp } = read(thing)?;
    Ok(Forward {
        of: record.id,
        box_name: record.spec.name.clone(),
        address: address(record),
        port,
        public,
        protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let range: ForwardRange = "127.0.0.1:20000-20999".parse().unwrap();
        assert_eq!((range.address.to_string().as_str(), range.ports), ("127.0.0.1", 20000..=20999));
        assert_eq!("[::1]:1-1".parse::<ForwardRange>().unwrap().ports, 1..=1);
        for wrong in
            ["", "127.0.0.1", "127.0.0.1:1", ":1-2", "127.0.0.1:2-1", "127.0.0.1:0-9", "x:1-2"]
        {
            wrong.parse::<ForwardRange>().unwrap_err();
        }
    }
}
