//! The one process per data folder that answers the DNS questions of boxes, and lets those with an
//! egress list reach the answers.
//!
//! It is started by [`Networks::wake_netd`](crate::Networks::wake_netd), outlives whoever started
//! it, and ends some seconds after the last lease, when it takes the networks down. What it knows it reads from the leases, question by question;
//! so nothing has to be told to it, and nothing is lost when it is killed but for what it pinned,
//! which is asked and pinned again. Every question is bounded in length, every box in how many it
//! may ask at once, and no answer is longer than the box said it takes.
//!
//! Start reading in `question`, which decides; `server` has the sockets.

#[cfg(feature = "fuzz")]
pub mod fuzz;
mod pins;
mod question;
mod server;
mod upstream;
mod wake;
mod watch;

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{SocketType, sockopt};
use tracing::{debug, warn};

use crate::folder::{Folder, Network};
use crate::names::Tag;
use crate::{NetError, make, nft};
use server::Server;
pub use wake::NetdCommand;
pub(crate) use wake::wake;
use wake::{DNS, take_lock};
use watch::{INTERVAL, Watch};

/// How long networks stay up without a box, so that commands that make a box each need not make its
/// network too.
const LINGER: Duration = Duration::from_secs(3);

/// Answers DNS on the gateway of every network of the installation until no lease is left. Returns
/// at once when another process does so already, or when there is no lease.
///
/// Runs on the host, as root, in a process of its own whose standard input and output may be the
/// sockets of one gateway. Ends by returning; a signal may end it at any time.
pub fn main(data: &Path, installation: &str) -> Result<(), NetError> {
    let folder = Folder::of(data);
    folder.make()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(NetError::kernel("start an event loop"))?;
    runtime.block_on(run(&folder, Tag::of(installation)))
}

async fn run(folder: &Folder, tag: Tag) -> Result<(), NetError> {
    let Some(mut lock) = take_lock(folder)? else { return Ok(()) };
    let server = Arc::new(Server::new(folder.clone())?);
    let mut handed = Handed::take();
    let mut served = HashSet::new();
    let mut watch = Watch::new(folder);
    let mut mended = None;
    let mut unused: Option<Instant> = None;
    loop {
        let due = mended.is_none_or(|when: Instant| when.elapsed() >= INTERVAL);
        mended = if due { Some(Instant::now()) } else { mended };
        for network in folder.networks()?.into_iter().filter(|network| network.tag == tag) {
            if due {
                mend(folder, &network);
            }
            if !served.contains(&network.subnet.gateway()) && serve(&server, &network, &mut handed)
            {
                served.insert(network.subnet.gateway());
            }
        }
        if folder.has_no_lease()? {
            let since = *unused.get_or_insert_with(Instant::now);
            let left = LINGER.saturating_sub(since.elapsed());
            if !left.is_zero() {
                tokio::select! {
                    () = watch.changed() => {}
                    () = tokio::time::sleep(left) => {}
                }
                continue;
            }
            take_down(folder);
            // Whoever makes a lease looks at the lock afterwards; so this looks for leases after it
            // has let go of the lock, and one of the two sees the other.
            drop(lock);
            if folder.has_no_lease()? {
                return Ok(());
            }
            lock = match take_lock(folder)? {
                Some(lock) => lock,
                None => return Ok(()),
            };
        }
        unused = None;
        watch.changed().await;
    }
}

/// Leaves nothing in the kernel of networks that nobody uses.
fn take_down(folder: &Folder) {
    let Some(program) = nft::program() else { return };
    if let Err(error) = make::let_go(folder, &program) {
        warn!(%error, "cannot take the networks down");
    }
}

/// Begins to answer on a network; whether it could. A network that is written down may not be up.
fn serve(server: &Arc<Server>, network: &Network, handed: &mut Handed) -> bool {
    match sockets(network, handed) {
        Ok((udp, tcp)) => {
            tokio::spawn(Arc::clone(server).serve_udp(network.clone(), udp));
            tokio::spawn(Arc::clone(server).serve_tcp(network.clone(), tcp));
            true
        }
        Err(error) if error.kind() != io::ErrorKind::AddrNotAvailable => {
            warn!(%error, network = %network.name, "cannot answer on a network");
            false
        }
        Err(error) => {
            debug!(%error, network = %network.name, "cannot answer on a network yet");
            false
        }
    }
}

fn sockets(
    network: &Network,
    handed: &mut Handed,
) -> io::Result<(tokio::net::UdpSocket, tokio::net::TcpListener)> {
    let address = SocketAddr::new(network.subnet.gateway().into(), DNS);
    let udp = handed.udp.take_if(|socket| socket.local_addr().is_ok_and(|a| a == address));
    let tcp = handed.tcp.take_if(|socket| socket.local_addr().is_ok_and(|a| a == address));
    let udp = udp.map_or_else(|| UdpSocket::bind(address), Ok)?;
    let tcp = tcp.map_or_else(|| TcpListener::bind(address), Ok)?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok((udp.try_into()?, tcp.try_into()?))
}

/// Loads the tables of a network again when someone has removed them: without them its boxes would
/// reach the host.
fn mend(folder: &Folder, network: &Network) {
    let Some(program) = nft::program() else { return };
    if let Err(error) = make::mend(folder, &network.name, &program) {
        warn!(%error, network = %network.name, "cannot see to the firewall");
    }
}

/// The sockets that this process was started with.
struct Handed {
    udp: Option<UdpSocket>,
    tcp: Option<TcpListener>,
}

impl Handed {
    fn take() -> Self {
        Self {
            udp: socket(io::stdin(), SocketType::DGRAM).map(UdpSocket::from),
            tcp: socket(io::stdout(), SocketType::STREAM).map(TcpListener::from),
        }
    }
}

fn socket(standard: impl AsFd, kind: SocketType) -> Option<OwnedFd> {
    let matches = sockopt::socket_type(&standard).is_ok_and(|found| found == kind);
    matches.then(|| standard.as_fd().try_clone_to_owned().ok()).flatten()
}
