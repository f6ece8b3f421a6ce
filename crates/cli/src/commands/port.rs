//! `boxherd port`.

use std::io;
use std::net::Ipv4Addr;

use boxherd_link::Link;
use boxherd_model::Address;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::app::App;
use crate::args::{Forward, PortArgs};
use crate::failure::Failure;
use crate::signals::{self, Signals};

/// Forwards until a signal comes.
pub(super) async fn port(app: &App, args: PortArgs) -> Result<(), Failure> {
    let mut signals = Signals::take().map_err(|error| Failure::io("signals", &error))?;
    // Asked for now, so that a box that is not there is told now.
    let link = Mutex::new(app.herd().await?.link(&args.name).await?);
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
        served.map(|(listener, forward)| serve(app, &args.name, &link, listener, forward.remote));
    tokio::select! {
        served = futures_util::future::try_join_all(served) => served.map(|_| ()),
        () = ended(&mut signals) => Ok(()),
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
    link: &Mutex<Link>,
    listener: &TcpListener,
    port: u16,
) -> Result<(), Failure> {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let link = current(app, address, link).await?;
                    connections.spawn(forward(link, stream, port));
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
    match tokio::io::copy_bidirectional(&mut here, &mut there).await {
        // Either side may hang up as it likes.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ) =>
        {
            Ok(())
        }
        other => other.map(|_| ()),
    }
}
