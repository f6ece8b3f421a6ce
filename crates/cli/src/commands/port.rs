//! `boxherd port`.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;

use boxherd_client::{Code, Ports};
use boxherd_link::Link;
use boxherd_model::Address;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::app::App;
use crate::args::{Forward, PortArgs};
use crate::failure::Failure;
use crate::signals::{self, Signals};

/// How much is sent to a server at once, in bytes.
const PIECE: usize = 64 * 1024;

/// Forwards until a signal comes.
pub(super) async fn port(app: &App, args: PortArgs) -> Result<(), Failure> {
    let mut signals = Signals::take().map_err(|error| Failure::io("signals", &error))?;
    // Asked for now, so that a box that is not there is told now.
    let way = Way::to(app, &args.name).await?;
    let mut listeners = Vec::new();
    for forward in &args.forwards {
        listeners.push(listen(*forward).await?);
    }
    for (listener, forward) in listeners.iter().zip(&args.forwards) {
        let local = listener.local_addr().map_err(|error| Failure::io("the port", &error))?;
        app.printer.text(&format!("{local} -> {}:{}\n", args.name, forward.remote))?;
    }
    let served = listeners.iter().zip(&args.forwards);
    let served =
        served.map(|(listener, forward)| serve(app, &args.name, &way, listener, forward.remote));
    tokio::select! {
        served = futures_util::future::try_join_all(served) => served.map(|_| ()),
        () = ended(&mut signals) => Ok(()),
    }
}

/// How connections get to the box.
enum Way {
    Link(Mutex<Link>),
    Server(Ports),
}

type Forwarding = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

impl Way {
    async fn to(app: &App, address: &Address) -> Result<Self, Failure> {
        match app.remote() {
            None => Ok(Self::Link(Mutex::new(app.herd().await?.link(address).await?))),
            Some(remote) => {
                remote.shown(address).await?;
                Ok(Self::Server(remote.client().await?.ports(address.to_string())))
            }
        }
    }

    /// Forwards one connection, in a task of its own.
    async fn forward(
        &self,
        app: &App,
        address: &Address,
        stream: TcpStream,
        port: u16,
    ) -> Result<Forwarding, Failure> {
        Ok(match self {
            Self::Link(link) => Box::pin(forward(current(app, address, link).await?, stream, port)),
            Self::Server(ports) => Box::pin(over_server(ports.clone(), stream, port)),
        })
    }
}

async fn ended(signals: &mut Signals) {
    while !signals::ends(signals.next().await) {}
}

async fn listen(forward: Forward) -> Result<TcpListener, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, forward.local)).await.map_err(|error| {
        Failure::io(format!("cannot listen on 127.0.0.1:{}", forward.local), &error)
            .hint("choose another port, or 0 for any that is free")
    })
}

async fn serve(
    app: &App,
    address: &Address,
    way: &Way,
    listener: &TcpListener,
    port: u16,
) -> Result<(), Failure> {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(way.forward(app, address, stream, port).await?);
                }
                // Of the one connection, not of the listener.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(Failure::io("cannot take a connection", &error)),
            },
            Some(ended) = connections.join_next() => match ended {
                Ok(Err(error)) => app.printer.note(&error.to_string()),
                Ok(Ok(())) => {}
                Err(error) => return Err(Failure::of(&error, "internal", None)),
            },
        }
    }
}

/// The link, opened again when the box was restarted.
async fn current(app: &App, address: &Address, link: &Mutex<Link>) -> Result<Link, Failure> {
    let mut link = link.lock().await;
    let lost = tokio::select! {
        biased;
        _ = link.closed() => true,
        () = std::future::ready(()) => false,
    };
    if lost {
        *link = app.herd().await?.link(address).await?;
    }
    Ok(link.clone())
}

async fn forward(link: Link, mut here: TcpStream, port: u16) -> io::Result<()> {
    let mut there = link.dial(port).await.map_err(io::Error::other)?;
    hung_up(tokio::io::copy_bidirectional(&mut here, &mut there).await.map(drop))
}

async fn over_server(ports: Ports, here: TcpStream, port: u16) -> io::Result<()> {
    let (mut incoming, mut outgoing) = ports.dial(port).await.map_err(io::Error::other)?;
    let (mut reader, mut writer) = here.into_split();
    let there = async {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            if reader.read_buf(&mut piece).await? == 0 {
                outgoing.close();
                return Ok(());
            }
            // A box that takes no more says so by its own end.
            if outgoing.send(piece.freeze()).await.is_err() {
                return Ok(());
            }
        }
    };
    let back = async {
        while let Some(bytes) = incoming.next().await.map_err(lost)? {
            writer.write_all(&bytes).await?;
        }
        writer.shutdown().await
    };
    hung_up(tokio::try_join!(there, back).map(drop))
}

fn lost(error: boxherd_client::Error) -> io::Error {
    match error.status() {
        Code::Aborted => io::ErrorKind::ConnectionReset.into(),
        _ => io::Error::other(error),
    }
}

/// Either side may hang up as it likes.
fn hung_up(ended: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    match ended {
        Err(error) if [ConnectionReset, BrokenPipe, NotConnected].contains(&error.kind()) => Ok(()),
        ended => ended,
    }
}
