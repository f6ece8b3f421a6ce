//! Asking the host's name servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::question::Question;
use super::wake::DNS;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most servers that are tried, as in the C library.
const MAX_SERVERS: usize = 3;
/// The longest datagram that passes every network in one piece (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// An answer: the bytes as they came, and what they say.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) message: Message,
}

/// The answer of the first of the host's name servers that gives one.
pub(super) async fn ask(question: &Question) -> Option<Answer> {
    // Read each time, since a laptop's servers change with its place.
    let text = tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default();
    for server in servers(&text) {
        match timeout(PATIENCE, ask_one(question, SocketAddr::new(server, DNS))).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "a name server failed"),
            Err(_) => tracing::debug!(%server, "a name server is silent"),
        }
    }
    None
}

/// The name servers of a `resolv.conf`; the one on this host when it names none.
fn servers(text: &str) -> Vec<IpAddr> {
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let parsed = named.filter_map(|rest| rest.split_whitespace().next()?.parse().ok());
    let servers: Vec<IpAddr> = parsed.take(MAX_SERVERS).collect();
    if servers.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { servers }
}

async fn ask_one(question: &Question, server: SocketAddr) -> io::Result<Answer> {
    // A number and a port of its own for each, so that an answer cannot be guessed.
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(question.query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    message.set_edns(edns);
    let id = message.metadata.id;
    let bytes = message.to_vec().map_err(io::Error::other)?;
    let answer = by_udp(question, id, &bytes, server).await?;
    if answer.message.metadata.truncation {
        return by_tcp(question, id, &bytes, server).await;
    }
    Ok(answer)
}

async fn by_udp(
    question: &Question,
    id: u16,
    bytes: &[u8],
    server: SocketAddr,
) -> io::Result<Answer> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Whatever else arrives is a guess of someone who saw no question.
        if let Some(answer) = accept(question, id, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(
    question: &Question,
    id: u16,
    bytes: &[u8],
    server: SocketAddr,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    let refused = || io::Error::other("the answer is to another question");
    accept(question, id, &buffer).ok_or_else(refused)
}

pub(super) fn accept(question: &Question, id: u16, bytes: &[u8]) -> Option<Answer> {
    let message = Message::from_vec(bytes).ok()?;
    question.is_answered_by(id, &message).then(|| Answer { bytes: bytes.to_vec(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_c_library_reads_them() {
        let text = "# nameserver 192.0.2.9\nsearch example.com\nnameserver 192.0.2.1\n  nameserver\t2001:db8::1 # here\nnameserver nonsense\n";
        let read: Vec<_> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(read, ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(servers(""), [Ipv4Addr::LOCALHOST]);
        assert_eq!(servers(&"nameserver 192.0.2.1\n".repeat(9)).len(), MAX_SERVERS);
    }
}
