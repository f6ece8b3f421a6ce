//! The messages of rtnetlink (`man 7 rtnetlink`) that make anchors and ports, and that read the
//! host's routes.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use boxherd_model::Cidr;
use rustix::io::Errno;

use crate::netlink::{Attributes, Batch, Body, CREATE, EXCL, REPLACE};
use crate::{Lease, Mac};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_INET_CONF: u16 = 1;
const IPV4_DEVCONF_RP_FILTER: u16 = 8;
const STRICT: u32 = 1;
const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RT_TABLE_MAIN: u8 = 254;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
/// Any scope, when a route is removed.
const RT_SCOPE_NOWHERE: u8 = 255;
const RTN_UNSPEC: u8 = 0;
const RTN_UNICAST: u8 = 1;
const RTN_UNREACHABLE: u8 = 7;
const RTNH_F_ONLINK: u32 = 4;
/// Marks routes as ours; the kernel only stores it. Free in `/etc/iproute2/rt_protos`.
const PROTOCOL: u8 = 98;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;

/// The fixed structure of a link message: no type, no flags but up or not.
fn link(index: u32, up: bool) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&(u32::from(up) * IFF_UP).to_ne_bytes());
    bytes[12..16].copy_from_slice(&(u32::from(up) * IFF_UP).to_ne_bytes());
    bytes
}

/// A veth pair: `port` here, and `eth0` in the namespace of the box.
pub(crate) fn make_port(batch: &mut Batch, port: &str, lease: &Lease, netns: BorrowedFd<'_>) {
    let peer = |body: &mut Body<'_>| {
        body.fixed(&link(0, false)).text(IFLA_IFNAME, "eth0").attr(IFLA_ADDRESS, &lease.mac().0);
        body.number(IFLA_MTU, lease.mtu).number(IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned());
    };
    batch.request("make the port", RTM_NEWLINK, CREATE | EXCL, |body| {
        body.fixed(&link(0, false))
            .text(IFLA_IFNAME, port)
            .attr(IFLA_ADDRESS, &lease.gateway_mac().0);
        body.number(IFLA_MTU, lease.mtu).number(IFLA_GROUP, lease.group().number());
        body.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, peer);
            });
        });
    });
}

/// The device that holds a gateway's address: a bridge that never has a port, because every kernel
/// with networks for boxes has bridges and not every one has dummies.
pub(crate) fn make_anchor(batch: &mut Batch, name: &str) {
    batch.request("make the anchor", RTM_NEWLINK, CREATE | EXCL, |body| {
        body.fixed(&link(0, false)).text(IFLA_IFNAME, name).nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "bridge");
        });
    });
}

/// Removes a device by its name; it is fine when there is none.
pub(crate) fn remove_link(batch: &mut Batch, name: &str) {
    batch.request("remove a device", RTM_DELLINK, 0, |body| {
        body.fixed(&link(0, false)).text(IFLA_IFNAME, name);
    });
    batch.forgive(Errno::NODEV);
}

/// Gives a device that is down another name.
pub(crate) fn rename_link(batch: &mut Batch, index: u32, name: &str) {
    batch.request("name the anchor", RTM_SETLINK, 0, |body| {
        body.fixed(&link(index, false)).text(IFLA_IFNAME, name);
    });
}

/// Brings a device up.
pub(crate) fn up(batch: &mut Batch, what: &'static str, index: u32) {
    batch.request(what, RTM_SETLINK, 0, |body| {
        body.fixed(&link(index, true));
    });
}

/// Has a device learn no neighbours. Any program can have the kernel look for any number of them,
/// and those it looks for cannot be evicted: one box could fill the table of all namespaces.
pub(crate) fn forgo_neighbours(batch: &mut Batch, index: u32) {
    batch.request("learn no neighbours", RTM_SETLINK, 0, |body| {
        let mut fixed = link(index, false);
        fixed[8..12].copy_from_slice(&IFF_NOARP.to_ne_bytes());
        fixed[12..16].copy_from_slice(&IFF_NOARP.to_ne_bytes());
        body.fixed(&fixed);
    });
}

/// Has the kernel check that whoever sends through a device is reached through it, in ARP as well.
pub(crate) fn check_sources(batch: &mut Batch, index: u32) {
    batch.request("check the sources of a port", RTM_SETLINK, 0, |body| {
        body.fixed(&link(index, false)).nest(IFLA_AF_SPEC, |spec| {
            spec.nest(u16::from(AF_INET), |inet| {
                inet.nest(IFLA_INET_CONF, |settings| {
                    settings.number(IPV4_DEVCONF_RP_FILTER, STRICT);
                });
            });
        });
    });
}

/// Brings a device up that shall have no IPv6 address, not even a link-local one.
pub(crate) fn up_without_ipv6(batch: &mut Batch, what: &'static str, index: u32) {
    batch.request("forgo IPv6 addresses", RTM_SETLINK, 0, |body| {
        body.fixed(&link(index, false)).nest(IFLA_AF_SPEC, |spec| {
            spec.nest(AF_INET6, |inet6| {
                inet6.attr(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
            });
        });
    });
    // A kernel without IPv6 gives no such address in the first place.
    batch.forgive(Errno::AFNOSUPPORT);
    up(batch, what, index);
}

/// Gives a device an address without any neighbours.
pub(crate) fn add_address(batch: &mut Batch, index: u32, address: Ipv4Addr) {
    batch.request("give the address", RTM_NEWADDR, CREATE | REPLACE, |body| {
        let mut fixed = [AF_INET, 32, 0, RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
        fixed[4..].copy_from_slice(&index.to_ne_bytes());
        body.fixed(&fixed).attr(IFA_LOCAL, &address.octets()).attr(IFA_ADDRESS, &address.octets());
    });
}

fn route(prefix: u8, scope: u8, kind: u8, flags: u32) -> [u8; 12] {
    let mut bytes = [AF_INET, prefix, 0, 0, RT_TABLE_MAIN, PROTOCOL, scope, kind, 0, 0, 0, 0];
    bytes[8..].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

/// What goes to `address` leaves through the device. Replaces the route of a device that is about
/// to go.
pub(crate) fn route_to_box(batch: &mut Batch, index: u32, address: Ipv4Addr) {
    batch.request("route to the box", RTM_NEWROUTE, CREATE | REPLACE, |body| {
        body.fixed(&route(32, RT_SCOPE_LINK, RTN_UNICAST, 0));
        body.attr(RTA_DST, &address.octets()).number(RTA_OIF, index);
    });
}

/// Nothing goes to `address` any more, whichever device it went through; it is fine when nothing
/// did.
pub(crate) fn cut_off(batch: &mut Batch, address: Ipv4Addr) {
    batch.request("cut the box off", RTM_DELROUTE, 0, |body| {
        body.fixed(&route(32, RT_SCOPE_NOWHERE, RTN_UNSPEC, 0)).attr(RTA_DST, &address.octets());
    });
    batch.forgive(Errno::SRCH);
}

/// Everything leaves through the device, by way of `gateway`, which has no route of its own.
pub(crate) fn route_to_gateway(batch: &mut Batch, index: u32, gateway: Ipv4Addr) {
    batch.request("route to the gateway", RTM_NEWROUTE, CREATE | REPLACE, |body| {
        body.fixed(&route(0, RT_SCOPE_UNIVERSE, RTN_UNICAST, RTNH_F_ONLINK));
        body.attr(RTA_GATEWAY, &gateway.octets()).number(RTA_OIF, index);
    });
}

/// Addresses of a subnet that no box has are unreachable, and the subnet is seen to be taken. The
/// metric says by whom.
pub(crate) fn claim_subnet(batch: &mut Batch, base: Ipv4Addr, prefix: u8, metric: u32) {
    batch.request("claim the subnet", RTM_NEWROUTE, CREATE | REPLACE, |body| {
        body.fixed(&route(prefix, RT_SCOPE_UNIVERSE, RTN_UNREACHABLE, 0));
        body.attr(RTA_DST, &base.octets()).number(RTA_PRIORITY, metric);
    });
}

/// Gives a claim up; it is fine when there is none.
pub(crate) fn unclaim_subnet(batch: &mut Batch, base: Ipv4Addr, prefix: u8, metric: u32) {
    batch.request("give the subnet up", RTM_DELROUTE, 0, |body| {
        body.fixed(&route(prefix, RT_SCOPE_UNIVERSE, RTN_UNREACHABLE, 0));
        body.attr(RTA_DST, &base.octets()).number(RTA_PRIORITY, metric);
    });
    batch.forgive(Errno::SRCH);
}

/// Pins who has an address behind a device. The kernel's table of learnt neighbours has room for
/// 1,024 in all namespaces together; pinned ones do not count.
pub(crate) fn pin_neighbour(batch: &mut Batch, index: u32, address: Ipv4Addr, mac: Mac) {
    batch.request("pin the neighbour", RTM_NEWNEIGH, CREATE | REPLACE, |body| {
        let mut fixed = [AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        fixed[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
        body.fixed(&fixed).attr(NDA_DST, &address.octets()).attr(NDA_LLADDR, &mac.0);
    });
}

/// Asks for every IPv4 route.
pub(crate) fn ask_routes(batch: &mut Batch) {
    batch.dump("list the routes", RTM_GETROUTE, |body| {
        body.fixed(&[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    });
}

/// Asks for one device.
pub(crate) fn ask_link(batch: &mut Batch, index: u32) {
    batch.request("look at a device", RTM_GETLINK, 0, |body| {
        body.fixed(&link(index, false));
    });
}

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: Cidr,
    pub(crate) device: Option<u32>,
    /// The metric of a route that is one of ours.
    pub(crate) ours: Option<u32>,
}

/// Reads the answer to [`ask_routes`].
pub(crate) fn read_route(kind: u16, body: &[u8]) -> Option<Route> {
    let (fixed, attributes) = body.split_at_checked(12).filter(|_| kind == RTM_NEWROUTE)?;
    let mut route = Route {
        to: Cidr { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: fixed[1] },
        device: None,
        ours: (fixed[5] == PROTOCOL).then_some(0),
    };
    for (kind, value) in Attributes(attributes) {
        let Ok(bytes) = <[u8; 4]>::try_from(value) else { continue };
        match kind {
            RTA_DST => route.to.address = IpAddr::V4(bytes.into()),
            RTA_OIF => route.device = Some(u32::from_ne_bytes(bytes)),
            RTA_PRIORITY if route.ours.is_some() => route.ours = Some(u32::from_ne_bytes(bytes)),
            _ => {}
        }
    }
    Some(route)
}

/// Reads the largest packet of a device from the answer to [`ask_link`].
pub(crate) fn read_mtu(kind: u16, body: &[u8]) -> Option<u32> {
    let (_, attributes) = body.split_at_checked(16).filter(|_| kind == RTM_NEWLINK)?;
    let (_, value) = Attributes(attributes).find(|(kind, _)| *kind == IFLA_MTU)?;
    value.try_into().ok().map(u32::from_ne_bytes)
}
