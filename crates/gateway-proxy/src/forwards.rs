//! Ports of the host that lead to ports of boxes: connections over the box's link, datagrams to its
//! address.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use boxherd_herd::{Forward, Herd, Protocol};
use bytes::Bytes;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections, or clients that send datagrams, of one forward at once.
const MOST: usize = 1024;
/// Datagrams of one client that wait for a box to wake.
const WAITING: usize = 64;
/// How long a client may send no datagram, and get none, until it is forgotten.
const SILENCE: Duration = Duration::from_secs(60);
/// The largest datagram.
const LARGEST: usize = 65_535;
/// When it is looked again what other processes have done to forwards.
const LOOK: Duration = Duration::from_secs(5);
/// The pause after a socket failed, lest a lasting failure takes the processor.
const RECOVERY: Duration = Duration::from_millis(50);

/// Listens for every forward on `address`, for as long as this is polled.
pub async fn serve_forwards(herd: Herd, address: IpAddr) {
    let mut changes = herd.forward_changes();
    let mut open: HashMap<Forward, JoinSet<()>> = HashMap::new();
    loop {
        let change = *changes.borrow_and_update();
        match herd.all_forwards().await {
            Ok(wanted) => {
                let wanted: HashSet<_> = wanted.into_iter().collect();
                // Whoever is no longer wanted is dropped, and what it does with it.
                open.retain(|forward, _| wanted.contains(forward));
                for forward in wanted {
                    if !open.contains_key(&forward) {
                        open.extend(listen(&herd, address, forward).await);
                    }
                }
                herd.forwards_are_served(change);
            }
            Err(error) => tracing::error!(%error, "no forwards could be listed"),
        }
        // Without a sender there is no herd, and this is dropped.
        let _ = timeout(LOOK, changes.changed()).await;
    }
}

async fn listen(herd: &Herd, address: IpAddr, forward: Forward) -> Option<(Forward, JoinSet<()>)> {
    let place = SocketAddr::from((address, forward.public));
    let (herd, key) = (herd.clone(), forward.clone());
    let mut tasks = JoinSet::new();
    let bound = match forward.protocol {
        Protocol::Tcp => TcpListener::bind(place).await.map(|listener| {
            tasks.spawn(connections(herd, forward, listener));
        }),
        Protocol::Udp => UdpSocket::bind(place).await.map(|socket| {
            tasks.spawn(datagrams(herd, forward, socket));
        }),
    };
    match bound {
        Ok(()) => Some((key, tasks)),
        Err(error) => {
            tracing::error!(%error, %place, of = %key.of, "a forward cannot be listened for");
            None
        }
    }
}

async fn connections(herd: Herd, forward: Forward, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(MOST));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok(ticket) = Arc::clone(&room).acquire_owned().await else { return };
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(%error, public = forward.public, "no connection could be accepted");
                tokio::time::sleep(RECOVERY).await;
                continue;
            }
        };
        let (herd, forward) = (herd.clone(), forward.clone());
        tasks.spawn(async move {
            if let Err(error) = carry(&herd, &forward, client).await {
                tracing::debug!(%error, of = %forward.of, "a forwarded connection ended");
            }
            drop(ticket);
        });
    }
}

async fn carry(herd: &Herd, forward: &Forward, mut client: TcpStream) -> io::Result<()> {
    let _awake = herd.in_use(forward.of);
    client.set_nodelay(true)?;
    let link = herd.visit(forward.of).await.map_err(io::Error::other)?;
    let mut stream = link.dial(forward.port).await.map_err(io::Error::other)?;
    copy_bidirectional(&mut client, &mut stream).await.map(drop)
}

async fn datagrams(herd: Herd, forward: Forward, socket: UdpSocket) {
    let Some(address) = forward.address else {
        tracing::warn!(of = %forward.of, "a box with forwarded datagrams has lost its address");
        return;
    };
    let (socket, place) = (Arc::new(socket), SocketAddr::from((address, forward.port)));
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Bytes>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, public = forward.public, "no datagram could be received");
                tokio::time::sleep(RECOVERY).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        if clients.get(&client).is_none_or(mpsc::Sender::is_closed) {
            clients.retain(|_, sender| !sender.is_closed());
            if clients.len() >= MOST {
                continue;
            }
            let (sender, pieces) = mpsc::channel(WAITING);
            let (herd, of, socket) = (herd.clone(), forward.of, Arc::clone(&socket));
            tasks.spawn(async move {
                let _awake = herd.in_use(of);
                let carried = async {
                    herd.visit(of).await.map_err(io::Error::other)?;
                    exchange(place, pieces, &socket, client).await
                };
                if let Err(error) = carried.await {
                    tracing::debug!(%error, %of, %client, "forwarded datagrams ended");
                }
            });
            clients.insert(client, sender);
        }
        // What there is no room for is lost, as datagrams are.
        if let Some(sender) = clients.get(&client) {
            let _ = sender.try_send(Bytes::copy_from_slice(&buffer[..length]));
        }
    }
}

/// Sends on what a client sends, and sends back what the box answers, until both are silent.
async fn exchange(
    place: SocketAddr,
    mut pieces: mpsc::Receiver<Bytes>,
    back: &UdpSocket,
    client: SocketAddr,
) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(place).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let step = async {
            tokio::select! {
                piece = pieces.recv() => match piece {
                    // That nobody listens there is said of the datagram before.
                    Some(piece) => socket.send(&piece).await.map(|_| true),
                    None => Ok(false),
                },
                length = socket.recv(&mut buffer) => {
                    back.send_to(&buffer[..length?], client).await.map(|_| true)
                }
            }
        };
        match timeout(SILENCE, step).await {
            Ok(Ok(true)) => {}
            // Nobody listens there yet.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Ok(Ok(false)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        }
    }
}
