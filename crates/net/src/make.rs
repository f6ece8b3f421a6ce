//! Making a network, once: its record, its tables, its routes and its anchor. Everything here
//! holds the folder's lock, may spawn `nft`, and takes milliseconds.

use std::fs;
use std::path::Path;

use boxherd_model::{Cidr, NetworkName};
use tracing::warn;

use crate::folder::{FOLDERS, Folder, Network};
use crate::names::{MAX_NETWORKS, Tag};
use crate::netlink::{Batch, Socket};
use crate::networks::{exists, index_of, open_route, refused, send};
use crate::nft::Transaction;
use crate::route::Route;
use crate::subnet::PREFIX;
use crate::{NetError, Subnet, elements, nft, route, ruleset};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Ethernet's own, for a host without a way out.
const DEFAULT_MTU: u32 = 1500;

/// The network of that name: written down if it is new, and made in the kernel if it is not there.
pub(crate) fn network(
    folder: &Folder,
    tag: Tag,
    name: &NetworkName,
    program: &Path,
) -> Result<Network, NetError> {
    folder.make()?;
    let _lock = folder.lock()?;
    let socket = open_route()?;
    let routes = routes(&socket)?;
    let network = match folder.network(name)? {
        Some(network) if exists(&socket, network.anchor()) => {
            // Another process was quicker, or only the tables are missing.
            reload(folder, &network, program)?;
            return Ok(network);
        }
        Some(network) => settle(folder, network, &routes)?,
        None => plan(folder, tag, name, &routes)?,
    };
    let network = Network { mtu: mtu(&socket, &routes), ..network };
    folder.write_network(&network)?;
    load_tables(folder, &network, program)?;
    turn_on_forwarding()?;
    raise_anchor(&socket, &network)?;
    // Once more, for `netd`, which watches for it.
    folder.write_network(&network)?;
    Ok(network)
}

/// Loads the tables of a network that is up, if someone has removed them, as a restart of the
/// `nftables` service does.
pub(crate) fn mend(folder: &Folder, name: &NetworkName, program: &Path) -> Result<(), NetError> {
    let _lock = folder.lock()?;
    match folder.network(name)? {
        Some(network) if exists(&open_route()?, network.anchor()) => {
            reload(folder, &network, program)
        }
        _ => Ok(()),
    }
}

fn reload(folder: &Folder, network: &Network, program: &Path) -> Result<(), NetError> {
    if nft::tables_exist(network.anchor()).map_err(refused)? {
        return Ok(());
    }
    warn!(network = %network.name, "the firewall's tables are gone, loading them again");
    load_tables(folder, network, program)
}

/// Takes what the kernel has of the networks away, if no box is on any. What is written down of
/// them stays, so that they come back as they were.
pub(crate) fn let_go(folder: &Folder, program: &Path) -> Result<(), NetError> {
    // Whoever leases an address looks at the network under this lock afterwards.
    let _lock = folder.lock()?;
    if folder.has_no_lease()? { take_down(folder, program) } else { Ok(()) }
}

fn take_down(folder: &Folder, program: &Path) -> Result<(), NetError> {
    let socket = open_route()?;
    for network in folder.networks()? {
        if !exists(&socket, network.anchor()) {
            continue;
        }
        send(&socket, |batch| {
            route::remove_link(batch, &network.anchor().to_string());
            route::unclaim_subnet(batch, network.subnet.base(), PREFIX, metric(&network));
        })?;
        run(program, &network, &ruleset::removal(network.anchor()))?;
    }
    Ok(())
}

/// Removes every network.
pub(crate) fn dismantle(folder: &Folder, program: &Path) -> Result<(), NetError> {
    take_down(folder, program)?;
    for name in FOLDERS {
        let path = folder.path(name);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(NetError::file("remove", path))?;
        }
    }
    Ok(())
}

fn routes(socket: &Socket) -> Result<Vec<Route>, NetError> {
    let mut batch = Batch::new();
    route::ask_routes(&mut batch);
    let mut routes = Vec::new();
    socket
        .converse(&batch, |kind, body| routes.extend(route::read_route(kind, body)))
        .map_err(refused)?;
    Ok(routes)
}

/// A new network: the first free number, and a subnet that overlaps with no route.
fn plan(
    folder: &Folder,
    tag: Tag,
    name: &NetworkName,
    routes: &[Route],
) -> Result<Network, NetError> {
    let others = folder.networks()?;
    let index = (0..=MAX_NETWORKS).find(|index| others.iter().all(|other| other.index != *index));
    // A network that is not up just now has no route that would show its subnet.
    let recorded =
        others.iter().map(|other| Cidr { address: other.subnet.base().into(), prefix: PREFIX });
    let taken: Vec<Cidr> = routes.iter().map(|route| route.to).chain(recorded).collect();
    let subnet = Subnet::choose(tag.scatter(), &taken);
    match (index, subnet) {
        (Some(index), Some(subnet)) => {
            Ok(Network { name: name.clone(), tag, index, subnet, mtu: DEFAULT_MTU })
        }
        _ => Err(NetError::NoSubnet { network: name.clone() }),
    }
}

/// A network that is written down and not up, as after a reboot: keeps its subnet, unless the host
/// routes it elsewhere now. Without leases it can move.
fn settle(folder: &Folder, network: Network, routes: &[Route]) -> Result<Network, NetError> {
    let ours = |route: &Route| route.ours == Some(metric(&network)) || route.ours == Some(0);
    let conflict = |route: &&Route| network.subnet.overlaps(&route.to) && !ours(route);
    if !routes.iter().any(|route| conflict(&route)) {
        return Ok(network);
    }
    if folder.all_leases()?.iter().any(|lease| lease.network == network.name) {
        return Err(NetError::SubnetTaken { network: network.name, subnet: network.subnet });
    }
    plan(folder, network.tag, &network.name, routes)
        .map(|planned| Network { index: network.index, ..planned })
}

/// The metric of a network's claim on its subnet, by which the claims of two installations differ.
const fn metric(network: &Network) -> u32 {
    1 + network.tag.bits()
}

/// The largest packet that the host's way out carries.
fn mtu(socket: &Socket, routes: &[Route]) -> u32 {
    let out = routes.iter().find(|route| route.to.prefix == 0).and_then(|route| route.device);
    let ask = |index| {
        let mut batch = Batch::new();
        route::ask_link(&mut batch, index);
        let mut mtu = None;
        let asked = socket.converse(&batch, |kind, body| mtu = mtu.or(route::read_mtu(kind, body)));
        // A device that has just gone has no MTU; the default is a good guess.
        asked.ok().and(mtu)
    };
    out.and_then(ask).unwrap_or(DEFAULT_MTU)
}

/// Loads the tables of a network, and lists again what its boxes may reach.
fn load_tables(folder: &Folder, network: &Network, program: &Path) -> Result<(), NetError> {
    run(program, network, &ruleset::text(network.anchor(), network.subnet))?;
    let leases = folder.all_leases()?;
    let listed = leases.iter().filter(|lease| lease.network == network.name);
    let listed: Vec<_> = listed.flat_map(elements::listed).collect();
    // A transaction is held in memory, and sent as a whole.
    for part in listed.chunks(256) {
        let mut transaction = Transaction::new(network.anchor());
        transaction.add(part);
        transaction.commit().map_err(refused)?;
    }
    Ok(())
}

fn run(program: &Path, network: &Network, text: &str) -> Result<(), NetError> {
    let loaded = nft::load(program, text).map_err(NetError::kernel("run `nft`"))?;
    loaded.map_err(|said| NetError::Rules { network: network.name.clone(), said })
}

/// Lets the host pass packets on between devices, which is off on a machine that is no router.
fn turn_on_forwarding() -> Result<(), NetError> {
    let now = fs::read_to_string(FORWARDING).map_err(NetError::file("read", FORWARDING))?;
    if now.trim() == "0" {
        fs::write(FORWARDING, "1").map_err(NetError::file("write", FORWARDING))?;
        warn!("turned on `net.ipv4.ip_forward`, without which boxes reach nothing outside");
    }
    Ok(())
}

/// Makes the anchor under a name that nobody looks for, and gives it its own when all is done.
fn raise_anchor(socket: &Socket, network: &Network) -> Result<(), NetError> {
    let name = network.anchor().to_string();
    let draft = format!("{name}~");
    send(socket, |batch| {
        // What a crash has left.
        route::remove_link(batch, &draft);
        route::make_anchor(batch, &draft);
        route::claim_subnet(batch, network.subnet.base(), PREFIX, metric(network));
    })?;
    let index = index_of(socket, &draft)?;
    send(socket, |batch| {
        route::add_address(batch, index, network.subnet.gateway());
        route::rename_link(batch, index, &name);
        route::up_without_ipv6(batch, "bring up the anchor", index);
    })
}
