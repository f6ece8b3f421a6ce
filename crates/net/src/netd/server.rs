//! The sockets, and how much of them one box may use.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::pins::Pins;
use super::question::{self, Plan, Question};
use super::upstream;
use crate::folder::{Folder, Network};
use crate::{Lease, NetError};

/// Questions and connections of one box at once; more are dropped, and asked again by the box.
const MAX_PER_BOX: usize = 64;
/// The same for all boxes.
const MAX_AT_ONCE: usize = 1024;
/// The longest question that is read, in bytes; a name has at most 255.
const MAX_QUESTION: usize = 1024;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// The pause after a socket failed, lest a lasting failure takes the processor.
const RECOVERY: Duration = Duration::from_millis(50);

/// What all sockets share.
#[derive(Debug)]
pub(super) struct Server {
    folder: Folder,
    pins: Mutex<Pins>,
    busy: Arc<Mutex<HashMap<Ipv4Addr, usize>>>,
}

/// The right to be served; returned when it is dropped.
#[derive(Debug)]
struct Ticket {
    busy: Arc<Mutex<HashMap<Ipv4Addr, usize>>>,
    of: Ipv4Addr,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut busy = self.busy.lock();
        if let Some(count) = busy.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.of);
            }
        }
    }
}

impl Server {
    pub(super) fn new(folder: Folder) -> Result<Self, NetError> {
        Ok(Self { folder, pins: Mutex::new(Pins::new()?), busy: Arc::default() })
    }

    fn admit(&self, from: SocketAddr) -> Option<Ticket> {
        let SocketAddr::V4(from) = from else { return None };
        let mut busy = self.busy.lock();
        let all: usize = busy.values().sum();
        let own = busy.entry(*from.ip()).or_default();
        if *own >= MAX_PER_BOX || all >= MAX_AT_ONCE {
            return None;
        }
        *own += 1;
        Some(Ticket { busy: Arc::clone(&self.busy), of: *from.ip() })
    }

    /// Answers questions that come as datagrams, for as long as the socket lasts.
    pub(super) async fn serve_udp(self: Arc<Self>, network: Network, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let mut buffer = [0; MAX_QUESTION];
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    warn!(%error, network = %network.name, "no question could be received");
                    sleep(RECOVERY).await;
                    continue;
                }
            };
            let Some(ticket) = self.admit(from) else { continue };
            let (server, socket, network) = (self.clone(), socket.clone(), network.clone());
            let bytes = buffer[..length].to_vec();
            tokio::spawn(async move {
                if let Some((answer, question)) = server.answer(&network, ticket.of, &bytes).await
                    && let Err(error) = socket.send_to(&fit(answer, question), from).await
                {
                    warn!(%error, %from, "an answer could not be sent");
                }
            });
        }
    }

    /// Answers questions that come over connections, for as long as the socket lasts.
    pub(super) async fn serve_tcp(self: Arc<Self>, network: Network, listener: TcpListener) {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, network = %network.name, "no connection could be accepted");
                    sleep(RECOVERY).await;
                    continue;
                }
            };
            let Some(ticket) = self.admit(from) else { continue };
            let (server, network) = (self.clone(), network.clone());
            tokio::spawn(async move {
                if let Err(error) = server.converse(&network, &ticket, stream).await {
                    tracing::debug!(%error, %from, "a connection ended");
                }
            });
        }
    }

    async fn converse(
        &self,
        network: &Network,
        ticket: &Ticket,
        mut stream: TcpStream,
    ) -> io::Result<()> {
        loop {
            let length = usize::from(timeout(SILENCE, stream.read_u16()).await??);
            if length > MAX_QUESTION {
                return Ok(());
            }
            let mut bytes = vec![0; length];
            timeout(SILENCE, stream.read_exact(&mut bytes)).await??;
            let Some((answer, _)) = self.answer(network, ticket.of, &bytes).await else {
                return Ok(());
            };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let framed = [&length.to_be_bytes(), answer.as_slice()].concat();
            timeout(SILENCE, stream.write_all(&framed)).await??;
        }
    }

    /// The answer to a message, and the question; nothing is said to what is no question, and to
    /// who is no box.
    async fn answer(
        &self,
        network: &Network,
        from: Ipv4Addr,
        bytes: &[u8],
    ) -> Option<(Vec<u8>, Option<Question>)> {
        let asker = self.holder(network, from)?;
        let question = match question::read(bytes)? {
            Ok(question) => question,
            Err(refusal) => return Some((refusal.to_vec().ok()?, None)),
        };
        let found = question::plan(&question, &asker, |name| self.find(network, name));
        let answer = match found {
            Plan::Answer(message, pins) => self.pinned(&asker, &question, message, &pins),
            Plan::Forward => match upstream::ask(&question).await {
                None => question.answer(ResponseCode::ServFail),
                Some(found) if asker.egress.is_none() => {
                    return Some((relayed(&question, found.bytes), Some(question)));
                }
                Some(found) => {
                    let (message, pins) = question::narrow(&question, &asker, &found.message);
                    self.pinned(&asker, &question, message, &pins)
                }
            },
        };
        Some((answer.to_vec().ok()?, Some(question)))
    }

    /// The answer, once its pins are in the firewall; a failure if they cannot be.
    fn pinned(
        &self,
        asker: &Lease,
        question: &Question,
        answer: Message,
        pins: &[question::Pin],
    ) -> Message {
        if pins.is_empty() {
            return answer;
        }
        match self.pins.lock().pin(&self.folder, asker, pins) {
            Ok(()) => answer,
            Err(error) => {
                warn!(%error, id = %asker.id, "an answer could not be pinned");
                question.answer(ResponseCode::ServFail)
            }
        }
    }

    /// The lease of the box with that address. The firewall vouches for the address.
    fn holder(&self, network: &Network, address: Ipv4Addr) -> Option<Lease> {
        let slot = network.subnet.slot_of(address)?;
        let found = self.folder.holder(network.index, slot);
        logged(found).filter(|lease| lease.address() == address)
    }

    /// The address of a box of a network.
    fn find(&self, network: &Network, name: &str) -> Option<Ipv4Addr> {
        let found = self.folder.named(network.index, name);
        let lease = logged(found).filter(|lease| lease.index == network.index)?;
        (lease.name.as_str() == name).then(|| lease.address())
    }
}

/// A lookup on disk; one that failed is as good as none for the box, and not for the log.
fn logged(found: Result<Option<Lease>, NetError>) -> Option<Lease> {
    found.unwrap_or_else(|error| {
        warn!(%error, "a lease could not be read");
        None
    })
}

/// An answer from outside under the asker's number for it.
pub(super) fn relayed(question: &Question, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[..2].copy_from_slice(&question.id.to_be_bytes());
    bytes
}

/// An answer as a datagram; one that is too long says so, and the box asks again by TCP.
pub(super) fn fit(answer: Vec<u8>, question: Option<Question>) -> Vec<u8> {
    let Some(question) = question else { return answer };
    if answer.len() <= usize::from(question.payload) {
        return answer;
    }
    let mut short = question.answer(ResponseCode::NoError);
    short.metadata.truncation = true;
    short.to_vec().unwrap_or_default()
}
