//! The network of a box that is on none.

use crate::netlink::Socket;
use crate::networks::send;
use crate::{NetError, route};

/// The loopback device is the first of every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Brings up the loopback device of the network namespace that this process is in, over which it
/// must have `CAP_NET_ADMIN`. Makes a socket and one send, and no thread.
///
/// Boxes that are on a network have it from [`Networks::plug`](crate::Networks::plug).
pub fn raise_loopback() -> Result<(), NetError> {
    let socket = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
    send(&socket, |batch| route::up(batch, "bring up loopback", LOOPBACK))
}
