//! What the engine calls.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;

use boxherd_model::{BoxId, BoxName, EgressRule, NetworkName, NetworkSpec};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::netdevice;
use rustix::thread::{CapabilitySet, capabilities};

use crate::folder::{Folder, Network};
use crate::loopback::LOOPBACK;
use crate::names::{AnchorName, Generation, Tag};
use crate::netd::{self, NetdCommand};
use crate::netlink::{Batch, Failed, Socket};
use crate::nft::Transaction;
use crate::subnet::SLOTS;
use crate::{Lease, NetError, elements, make, nft, route, rules};

/// The networks of one installation.
///
/// Opening it is cheap and does nothing to the machine. Every call is synchronous, makes no thread
/// and believes only the disk and the kernel, so it may be made from a single-threaded helper, from
/// several processes at once, and after a fork. Calls act on the network namespace of the calling
/// thread, which must be the host's, and need `CAP_NET_ADMIN` there.
#[derive(Debug, Clone)]
pub struct Networks {
    folder: Folder,
    tag: Tag,
    /// The `netd` processes that this process has to reap.
    started: Arc<Mutex<Vec<Child>>>,
}

impl Networks {
    /// The networks of the installation with the id `installation`, kept below `data`.
    pub fn open(data: &Path, installation: &str) -> Result<Self, NetError> {
        Ok(Self { folder: Folder::of(data), tag: Tag::of(installation), started: Arc::default() })
    }

    /// Whether this process can give boxes a network; if not, why. [`NetError::hint`] has the way
    /// out. Changes nothing, and takes some microseconds.
    pub fn available(&self) -> Result<(), NetError> {
        let held = capabilities(None).map_err(io::Error::from);
        let held = held.map_err(NetError::kernel("read the capabilities"))?;
        if !held.effective.contains(CapabilitySet::NET_ADMIN) {
            return Err(NetError::NotPermitted);
        }
        self.nft()?;
        let opened = Socket::netfilter();
        opened.map_err(|source| NetError::NoKernelSupport { feature: "nf_tables", source })?;
        Ok(())
    }

    /// Makes sure that the network of `spec` exists, and leases an address on it to a box. A box
    /// that has a lease on that network keeps its addresses and takes on the new name and policy.
    ///
    /// Called before every start of a box, while it has no process: the first call after a reboot
    /// of the host makes the network again. That, and the first call for a network, spawns `nft`
    /// (some 30 ms); no other call does.
    pub fn reserve(
        &self,
        id: BoxId,
        name: &BoxName,
        spec: &NetworkSpec,
    ) -> Result<Lease, NetError> {
        let NetworkSpec::Bridge { name: network, isolated, egress } = spec else {
            return Err(NetError::NotOnANetwork);
        };
        rules::check(egress.as_deref().unwrap_or_default())?;
        let wanted = Wanted { id, name, isolated: *isolated, egress: egress.as_ref() };
        let earlier = self.folder.lease(id)?;
        // As a rule the network is there, and its tables are looked for only once a lease keeps it.
        if earlier.is_none()
            && egress.is_none()
            && let Some(written) = self.folder.network(network)?
            && exists(&open_route()?, written.anchor())
        {
            let lease = self.lease(&written, &wanted)?;
            if self.is_held(&written)? {
                return Ok(lease);
            }
            // One without leases may move when it is made.
            self.release(id)?;
        }
        let network = self.ensure(network)?;
        let lease = match earlier {
            Some(lease) if lease.network == network.name => self.renew(lease, &network, &wanted),
            Some(_) => {
                self.release(id)?;
                self.lease(&network, &wanted)
            }
            None => self.lease(&network, &wanted),
        }?;
        if !self.is_held(&network)? {
            make::network(&self.folder, self.tag, &network.name, &self.nft()?)?;
        }
        Ok(lease)
    }

    /// Whether the network is there now that a lease keeps it: before, `netd` may have taken it down
    /// as one that nobody uses.
    fn is_held(&self, network: &Network) -> Result<bool, NetError> {
        let _lock = self.folder.lock()?;
        is_up(network)
    }

    /// Gives a box its port: a veth pair whose other end is `eth0` in `netns` with the box's address
    /// and its way out, and on the host the route to it, without which the firewall lets nothing
    /// pass. When this returns, packets flow. Called once for each network namespace; the port goes
    /// when the namespace goes.
    ///
    /// The calling thread is in `netns` for some microseconds, and so needs `CAP_SYS_ADMIN` over the
    /// user namespace that owns it.
    pub fn plug(&self, lease: &Lease, netns: BorrowedFd<'_>) -> Result<(), NetError> {
        let socket = open_route()?;
        let index = make_port(&socket, lease, netns)?;
        let inside =
            Socket::route_in(netns).map_err(NetError::kernel("enter the box's network"))?;
        let eth0 = index_of(&inside, "eth0")?;
        send(&inside, |batch| {
            route::up(batch, "bring up loopback", LOOPBACK);
            route::forgo_neighbours(batch, eth0);
            route::add_address(batch, eth0, lease.address());
            route::up_without_ipv6(batch, "bring up `eth0`", eth0);
            route::pin_neighbour(batch, eth0, lease.subnet.gateway(), lease.gateway_mac());
            route::route_to_gateway(batch, eth0, lease.subnet.gateway());
        })?;
        send(&socket, |batch| {
            route::check_sources(batch, index);
            route::up_without_ipv6(batch, "bring up the port", index);
            route::pin_neighbour(batch, index, lease.address(), lease.mac());
            route::route_to_box(batch, index, lease.address());
        })?;
        // The end that was brought up first drops what it is to send until the kernel has taken note
        // of the other; under load that is late enough for a first question to be lost, and asked
        // again after seconds. Looking at the device makes the kernel do it now.
        send(&inside, |batch| route::ask_link(batch, eth0))
    }

    /// Starts `netd`, which answers the box's DNS questions, unless it runs. Call it while a helper
    /// starts the box, from a process that may spawn others. What the box asks before `netd` is there
    /// is answered then, but for what it asked before this call.
    pub fn wake_netd(&self, lease: &Lease, command: &NetdCommand) -> Result<(), NetError> {
        self.start_netd(lease.gateway(), command)
    }

    fn start_netd(&self, gateway: IpAddr, command: &NetdCommand) -> Result<(), NetError> {
        let mut started = self.started.lock();
        // One that has ended, because its last lease went, is only to be reaped.
        started.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        started.extend(netd::wake(&self.folder, gateway, command)?);
        Ok(())
    }

    /// Like [`wake_netd_if_up`](Self::wake_netd_if_up) when no box has a lease any more, else
    /// nothing. Called after a box was deleted; looks into one folder as a rule.
    pub fn settle(&self, command: &NetdCommand) -> Result<(), NetError> {
        if self.folder.has_no_lease()? { self.wake_netd_if_up(command) } else { Ok(()) }
    }

    /// Starts `netd` if a network is up and it does not run: whoever made the network may have died
    /// before it could. `netd` answers the boxes, or takes the network down when there are none.
    pub fn wake_netd_if_up(&self, command: &NetdCommand) -> Result<(), NetError> {
        for network in self.folder.networks()?.iter().filter(|network| network.tag == self.tag) {
            if is_up(network)? {
                return self.start_netd(network.subnet.gateway().into(), command);
            }
        }
        Ok(())
    }

    /// Takes a box's lease away, and cuts it off. Called when no process of the box is left; may be
    /// called again, and for boxes that never had a lease. The port itself goes with its namespace,
    /// since removing it takes 20 ms and more. A box with an egress list takes some 12 ms, any other
    /// 0.1 ms.
    pub fn release(&self, id: BoxId) -> Result<(), NetError> {
        let Some(lease) = self.folder.lease(id)? else { return Ok(()) };
        self.folder.remove_lease(&lease)?;
        send(&open_route()?, |batch| route::cut_off(batch, lease.address()))?;
        forget(&lease)?;
        // Last: as long as the claim stands, nobody gets the address.
        self.folder.free(&lease)
    }

    /// Changes the name by which other boxes find a box. Succeeds when it has no lease.
    pub fn rename(&self, id: BoxId, name: &BoxName) -> Result<(), NetError> {
        let Some(lease) = self.folder.lease(id)? else { return Ok(()) };
        self.folder.rewrite(&lease, &Lease { name: name.clone(), ..lease.clone() })
    }

    /// The lease of a box, if it has one. Reads one file.
    pub fn find(&self, id: BoxId) -> Result<Option<Lease>, NetError> {
        self.folder.lease(id)
    }

    /// Every lease of this installation.
    pub fn list(&self) -> Result<Vec<Lease>, NetError> {
        self.folder.all_leases()
    }

    /// Releases what belongs to no box, and says whose leases those were. `exists` is asked after
    /// each was found, so that it must say yes of a box from before its lease is made until after it
    /// was released, and then of what other processes make meanwhile too.
    pub fn sweep(&self, exists: impl Fn(BoxId) -> bool) -> Result<Vec<BoxId>, NetError> {
        let mut swept = Vec::new();
        for lease in self.list()?.into_iter().filter(|lease| !exists(lease.id)) {
            self.release(lease.id)?;
            swept.push(lease.id);
        }
        self.folder.sweep(exists)?;
        Ok(swept)
    }

    /// Takes every network and every lease away: devices, routes, tables and files. For the removal
    /// of an installation, and for tests. No box may be running.
    pub fn dismantle(&self) -> Result<(), NetError> {
        self.sweep(|_| false)?;
        make::dismantle(&self.folder, &self.nft()?)
    }

    fn nft(&self) -> Result<PathBuf, NetError> {
        nft::program().ok_or(NetError::NoNft)
    }

    /// The network of that name, made when it is not there.
    fn ensure(&self, name: &NetworkName) -> Result<Network, NetError> {
        if let Some(network) = self.folder.network(name)?
            && is_up(&network)?
        {
            return Ok(network);
        }
        self.available()?;
        make::network(&self.folder, self.tag, name, &self.nft()?)
    }

    /// Leases a free address. The search begins where the id says, so an address returns late and
    /// two processes seldom try the same.
    fn lease(&self, network: &Network, wanted: &Wanted<'_>) -> Result<Lease, NetError> {
        let count = SLOTS.end() - SLOTS.start() + 1;
        let tail = [wanted.id.as_bytes()[14], wanted.id.as_bytes()[15]];
        let start = u16::from_be_bytes(tail) % count;
        let slots = (0..count).map(|step| SLOTS.start() + (start + step) % count);
        let make = |slot| Lease {
            id: wanted.id,
            name: wanted.name.clone(),
            network: network.name.clone(),
            tag: network.tag,
            index: network.index,
            subnet: network.subnet,
            slot,
            mtu: network.mtu,
            isolated: wanted.isolated,
            egress: wanted.egress.cloned(),
        };
        let lease = self.folder.write_first_free(slots, make)?;
        let lease = lease.ok_or_else(|| NetError::Full { network: network.name.clone() })?;
        // A release that was cut off half-way has left what the address before this one reached.
        forget(&lease)?;
        list(&lease)?;
        Ok(lease)
    }

    fn renew(&self, old: Lease, network: &Network, wanted: &Wanted<'_>) -> Result<Lease, NetError> {
        let new = Lease {
            name: wanted.name.clone(),
            subnet: network.subnet,
            mtu: network.mtu,
            isolated: wanted.isolated,
            egress: wanted.egress.cloned(),
            ..old.clone()
        };
        if new != old {
            forget(&old)?;
            self.folder.rewrite(&old, &new)?;
            list(&new)?;
        }
        Ok(new)
    }
}

/// Tells the firewall where a box with an egress list gets.
fn list(lease: &Lease) -> Result<(), NetError> {
    let listed = elements::listed(lease);
    if listed.is_empty() {
        return Ok(());
    }
    let mut transaction = Transaction::new(lease.anchor());
    transaction.add(&listed);
    transaction.commit().map_err(refused)
}

/// Takes away what the firewall was told of a box, be it by its list or by `netd`.
fn forget(lease: &Lease) -> Result<(), NetError> {
    if lease.egress.is_none() {
        return Ok(());
    }
    loop {
        let mut elements = nft::elements(lease.anchor()).map_err(refused)?;
        elements.retain(|element| element.is_of(lease.address()));
        if elements.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::new(lease.anchor());
        transaction.remove(&elements);
        match transaction.commit() {
            // One of them has just timed out, and so none was removed.
            Err(Failed { errno: Errno::NOENT, .. }) => {}
            removed => return removed.map_err(refused),
        }
    }
}

/// What a box asks of its network.
struct Wanted<'a> {
    id: BoxId,
    name: &'a BoxName,
    isolated: bool,
    egress: Option<&'a Vec<EgressRule>>,
}

/// Makes the veth pair under the first name that no earlier device of this slot holds any more.
fn make_port(socket: &Socket, lease: &Lease, netns: BorrowedFd<'_>) -> Result<u32, NetError> {
    let mut last = None;
    for generation in Generation::all() {
        let port = lease.port(generation).to_string();
        let mut batch = Batch::new();
        route::make_port(&mut batch, &port, lease, netns);
        match socket.exchange(&batch) {
            Ok(()) => return index_of(socket, &port),
            Err(failed) if failed.errno == Errno::EXIST => last = Some(failed),
            Err(failed) => return Err(refused(failed)),
        }
    }
    Err(refused(last.unwrap_or(Failed { what: "make the port", errno: Errno::EXIST })))
}

fn is_up(network: &Network) -> Result<bool, NetError> {
    Ok(exists(&open_route()?, network.anchor())
        && nft::tables_exist(network.anchor()).map_err(refused)?)
}

pub(crate) fn open_route() -> Result<Socket, NetError> {
    Socket::route().map_err(NetError::kernel("open a netlink socket"))
}

/// Whether an anchor is there. It gets this name when its network is whole.
pub(crate) fn exists(socket: &Socket, anchor: AnchorName) -> bool {
    netdevice::name_to_index(socket, &anchor.to_string()).is_ok()
}

/// Sends a datagram of messages and waits for what the kernel says to each.
pub(crate) fn send(socket: &Socket, write: impl FnOnce(&mut Batch)) -> Result<(), NetError> {
    let mut batch = Batch::new();
    write(&mut batch);
    socket.exchange(&batch).map_err(refused)
}

/// The number of a device.
pub(crate) fn index_of(socket: &Socket, device: &str) -> Result<u32, NetError> {
    netdevice::name_to_index(socket, device)
        .map_err(|errno| NetError::kernel(format!("find `{device}`"))(errno.into()))
}

pub(crate) fn refused(failed: Failed) -> NetError {
    NetError::kernel(failed.what)(failed.into_io())
}
