//! The short way to ports of boxes: a socket that was made in the box's network and is used from here.
//!
//! It is on the box's loopback, as the agent's is, so it reaches what listens there only, of boxes
//! that are isolated or have no network too, and no packet of it passes a firewall. What comes
//! through it comes from the box, and is as hostile as what comes through the agent.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use boxherd_model::BoxId;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpSocket, TcpStream};

use crate::core::Core;

/// How long a connection may take: there is nothing between, but for what the box's own root puts
/// there.
const PATIENCE: Duration = Duration::from_secs(1);

impl Core {
    /// A socket in the network of a box; `None` when the box does not run, or has a kernel of its own,
    /// to which that network leads only from outside, or when this process has no power over it.
    fn socket_in(&self, id: BoxId) -> io::Result<Option<OwnedFd>> {
        let folder = self.folder(id);
        // Only a box with a warden has this socket.
        if folder.orders().exists() || !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        self.pidfd(&folder)?.map(|first| socket_in(first.as_fd())).transpose()
    }
}

/// The calling thread is in the network of the box for as long as it takes to make the socket. The process
/// ends where the thread cannot return, which has no reason to happen: what the thread did next, for somebody
/// else, would be done in the box's network.
fn socket_in(process: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let home = File::open("/proc/thread-self/ns/net")?;
    let network = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(process, network)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    if let Err(error) = move_into_link_name_space(home.as_fd(), network) {
        tracing::error!(%error, "a thread cannot leave the network of a box: ending");
        std::process::abort();
    }
    Ok(socket?)
}

/// Connects to a port on the loopback of the network that the socket is in.
async fn connect(socket: OwnedFd, port: u16) -> io::Result<TcpStream> {
    let socket = TcpSocket::from_std_stream(socket.into());
    let place = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connected = tokio::time::timeout(PATIENCE, socket.connect(place)).await;
    let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection to a port on the loopback of a box.
pub(crate) async fn dial(core: Arc<Core>, id: BoxId, port: u16) -> io::Result<Option<TcpStream>> {
    let socket = tokio::task::spawn_blocking(move || core.socket_in(id));
    match socket.await.map_err(io::Error::other)?? {
        Some(socket) => connect(socket, port).await.map(Some),
        None => Ok(None),
    }
}
