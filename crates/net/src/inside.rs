//! What is left to do in the box's own network namespace.

use serde::{Deserialize, Serialize};

use crate::netlink::Socket;
use crate::networks::send;
use crate::{NetError, route};

/// The loopback device is the first of every namespace.
const LOOPBACK: u32 = 1;

/// What a box's first process does in its own network namespace, once, whether the box is on a
/// network or not. It can be sent to another process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {}

impl Inside {
    /// For a box without a network.
    #[must_use]
    pub const fn loopback() -> Self {
        Self {}
    }

    /// Brings loopback up; the rest of the box's network is there when
    /// [`Networks::plug`](crate::Networks::plug) returns, before this or after it.
    ///
    /// Runs in the network namespace of the box with `CAP_NET_ADMIN` over it. Makes a socket and one
    /// send, and no thread.
    pub fn apply(&self) -> Result<(), NetError> {
        let socket = Socket::route().map_err(NetError::kernel("open a netlink socket"))?;
        send(&socket, |batch| route::up(batch, "bring up loopback", LOOPBACK))
    }
}
