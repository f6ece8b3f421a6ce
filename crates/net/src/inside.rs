//! What happens in the box's own network namespace.

use std::io;
use std::net::Ipv4Addr;

use rustix::net::netdevice;
use serde::{Deserialize, Serialize};

use crate::netlink::{Batch, Socket};
use crate::{Lease, Mac, NetError, route};

/// The loopback device is the first of every namespace.
const LOOPBACK: u32 = 1;

/// What a box's first process does in its own network namespace, once, before anything else runs
/// there. It can be sent to another process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    port: Option<Port>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Port {
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    gateway_mac: Mac,
}

impl Inside {
    /// For a box without a network: loopback only.
    #[must_use]
    pub fn loopback() -> Self {
        Self::default()
    }

    pub(crate) fn of(lease: &Lease) -> Self {
        let port = Port {
            address: lease.address(),
            gateway: lease.subnet.gateway(),
            gateway_mac: lease.gateway_mac(),
        };
        Self { port: Some(port) }
    }

    /// Brings loopback up and, where there is a port, gives `eth0` its address and the way out.
    ///
    /// Runs in the network namespace of the box with `CAP_NET_ADMIN` over it, after
    /// [`Networks::plug`](crate::Networks::plug). Makes a socket, one or two sends, and no thread.
    pub fn apply(&self) -> Result<(), NetError> {
        let socket = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
        let mut batch = Batch::new();
        route::up(&mut batch, "bring up loopback", LOOPBACK);
        if let Some(port) = &self.port {
            port.describe(&mut batch, index_of_eth0(&socket)?);
        }
        socket.exchange(&batch).map_err(|failed| NetError::kernel(failed.what)(failed.into_io()))
    }
}

fn index_of_eth0(socket: &Socket) -> Result<u32, NetError> {
    netdevice::name_to_index(socket, "eth0")
        .map_err(io::Error::from)
        .map_err(NetError::kernel("find `eth0` in the box"))
}

impl Port {
    fn describe(&self, batch: &mut Batch, index: u32) {
        route::add_address(batch, index, self.address);
        route::up_without_ipv6(batch, "bring up `eth0`", index);
        route::pin_neighbour(batch, index, self.gateway, self.gateway_mac);
        route::route_to_gateway(batch, index, self.gateway);
    }
}
