//! Connections to ports of the box.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use boxherd_link::conn::{Inbound, Stream};
use boxherd_link::proto::{self, Answer, Cause, Reply};
use boxherd_link::{LinkError, channel};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::{failure, io_failure};

/// What is read from a connection at once, in bytes.
const PIECE: usize = 64 * 1024;

/// Connects, then carries bytes both ways until both have ended.
pub(crate) async fn dial(stream: Stream, dial: proto::Dial) {
    let Some(port) = u16::try_from(dial.port).ok().filter(|port| *port != 0) else {
        return stream.end(failure(Cause::Refused, 0, "there is no such port"));
    };
    let connection = match connect(port).await {
        Ok(connection) => connection,
        Err(error) => return stream.end(io_failure(&error)),
    };
    stream.message(&Reply { answer: Some(Answer::Done(proto::Nothing {})) });
    let (reader, writer) = connection.into_split();
    // Either failing ends both; dropping the stream resets it.
    if let (Ok(()), Ok(())) = tokio::join!(outward(&stream, reader), inward(&stream, writer)) {
        stream.end(Answer::Done(proto::Nothing {}));
    }
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    let connection = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(connection) => connection,
        // What was wrong with IPv4 is told when IPv6 is no better.
        Err(error) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| error)?,
    };
    connection.set_nodelay(true)?;
    Ok(connection)
}

async fn outward(stream: &Stream, mut reader: OwnedReadHalf) -> Result<(), LinkError> {
    loop {
        let room = stream.room().await?;
        // Waits with no buffer: most connections are idle most of the time.
        drop(reader.readable().await);
        let mut buffer = BytesMut::with_capacity(room.min(PIECE));
        let mut limited = (&mut reader).take(buffer.capacity() as u64);
        match limited.read_buf(&mut buffer).await {
            Ok(0) => {
                stream.finish(channel::MAIN);
                return Ok(());
            }
            Ok(_) => stream.send_now(channel::MAIN, buffer.split().freeze(), false),
            Err(error) => return Err(LinkError::Lost { reason: error.to_string() }),
        };
    }
}

async fn inward(stream: &Stream, mut writer: OwnedWriteHalf) -> Result<(), LinkError> {
    let broken = |error: io::Error| LinkError::Lost { reason: error.to_string() };
    loop {
        match stream.recv().await? {
            Inbound::Data { bytes, fin, cost, .. } => {
                writer.write_all(&bytes).await.map_err(broken)?;
                stream.release(cost);
                if fin {
                    return writer.shutdown().await.map_err(broken);
                }
            }
            Inbound::Message(_) => {}
            Inbound::End | Inbound::Reset => return Err(LinkError::Closed),
        }
    }
}
