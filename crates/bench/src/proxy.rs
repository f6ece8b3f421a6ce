//! The way of a browser into a box, beside the same way with nginx for the hop: `boxherd serve` with
//! a proxy and nginx on the host both lead to one program in one box, and are asked in turns.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;

use crate::contest::{Contender, rounds};
use crate::context::Bench;
use crate::load::{CONNECTIONS, Target, rate, speed};
use crate::nginx::{self, Hop};
use crate::peers::installed;
use crate::report::{Contest, Unit};
use crate::server::{Server, name_of};

/// Where the name of a box leads that says nothing else.
const PORT: u16 = 8000;
/// Where the program has its files in the box.
const FOLDER: &str = "/var/tmp/app";
/// Requests of one turn: about half a second.
const REQUESTS: u32 = 8000;
/// The large answer, in bytes, at most; it stays in the page cache.
const LARGE: u64 = 256 << 20;
/// What we are to reach of what nginx does.
const SHARE: f64 = 0.7;

/// Requests in a second, and the speed of a large answer. Nothing without a program to start, or
/// without nginx.
pub(crate) async fn proxy(bench: &mut Bench) -> anyhow::Result<Vec<Contest>> {
    let Some(program) = &bench.program else { return Ok(Vec::new()) };
    if !installed(nginx::NAME) {
        bench.skipped.push("proxy: nginx is not installed, `apt-get install nginx`".to_owned());
        return Ok(Vec::new());
    }
    let server = Server::start(program, &["--proxy-listen", "127.0.0.1:0"]).await?;
    let measured = measure(bench, &server).await;
    let ended = server.end().await;
    let measured = measured?;
    ended?;
    Ok(measured)
}

async fn measure(bench: &mut Bench, server: &Server) -> anyhow::Result<Vec<Contest>> {
    let size = bench.options.file_size.min(LARGE);
    server.make("app").await?;
    let app = begin(server, size).await?;
    let scratch = tempfile::tempdir_in(&bench.options.scratch)?;
    let host = name_of("app");
    let target = |place| Target { place, host: host.clone() };
    let proxy = server.proxy.context("the server has no proxy")?;
    let named = Target { place: proxy, host: format!("{host}.localhost") };
    let mut targets = vec![("boxherd proxy", named)];
    let hop = match bench.options.peers {
        true => Some(Hop::start(scratch.path(), app)?),
        false => None,
    };
    targets.extend(hop.as_ref().map(|hop| ("nginx hop", target(hop.place))));
    targets.push(("no hop", target(app)));
    let found = contests(bench, &targets, size).await?;
    server.remove("app").await?;
    Ok(found)
}

/// Starts the program in the box; returns where it is reached from the host.
async fn begin(server: &Server, size: u64) -> anyhow::Result<SocketAddr> {
    server.run("app", &["mkdir", "-p", FOLDER]).await?;
    let config = format!("{FOLDER}/app.conf");
    let files = server.client.files(name_of("app"));
    files.write(&config, nginx::app(FOLDER, PORT)).await?;
    let large = format!("{FOLDER}/large");
    server.run("app", &["truncate", "-s", &size.to_string(), &large]).await?;
    let log = format!("{FOLDER}/error.log");
    server.run("app", &[nginx::NAME, "-e", &log, "-c", &config]).await?;
    let info = server.client.boxes().get(&name_of("app")).await?;
    let address: IpAddr = info.address.parse().context("the box has no address")?;
    Ok(SocketAddr::new(address, PORT))
}

async fn contests(
    bench: &mut Bench,
    targets: &[(&str, Target)],
    size: u64,
) -> anyhow::Result<Vec<Contest>> {
    let few = bench.options.few();
    let small = targets
        .iter()
        .map(|(name, target)| Contender::new(name, move || rate(target, "/", REQUESTS)));
    let rates = rounds("proxy", small.collect(), few, &mut bench.skipped).await?;
    let large = targets
        .iter()
        .map(|(name, target)| Contender::new(name, move || speed(target, "/large", size)));
    let speeds = rounds("proxy-large", large.collect(), few, &mut bench.skipped).await?;
    let what = format!("a small answer of one program in a box, {CONNECTIONS} connections");
    let much = format!("an answer of {:.0} MB of the same program", size as f64 / 1e6);
    Ok(vec![
        Contest::new("proxy", &what, Unit::PerSecond, rates).target_ratio(SHARE),
        Contest::new("proxy-large", &much, Unit::MegabytesPerSecond, speeds).target(1000.0),
    ])
}
