//! Files on one way: over the link, by the API of the server, and by the connector of others.

use std::time::Instant;

use boxherd_link::{Link, ReadRange, WriteOptions};
use boxherd_lxd_client::{FileMeta, Found, Instance, NewFile};
use bytes::Bytes;
use futures_util::stream;

use super::Run;
use super::contests::{Goal, Named};
use super::peers::Peers;
use super::way::Way;
use crate::contest::{Contender, millis_since};
use crate::files;
use crate::report::{Contest, Unit};

/// A small file, in bytes.
const SMALL: usize = 1024;
const PLACE: &str = "/var/tmp/small";

/// A small file there, and back.
pub(super) async fn small(run: &mut Run, way: &Way, peers: &Peers) -> anyhow::Result<[Contest; 2]> {
    let (link, api) = (&way.link().await?, &way.instance()?);
    let connector = |question: &'static str| {
        let peer = peers.connector.as_ref()?;
        Some(Contender::new("pyinfra connector", move || peer.ask(question)))
    };
    let content = &Bytes::from(vec![b'x'; SMALL]);
    let puts: Vec<_> = [
        Contender::new("boxherd", move || put(link, content)),
        Contender::new("files API", move || api_put(api, content)),
    ]
    .into_iter()
    .chain(connector("put"))
    .collect();
    let gets: Vec<_> = [
        Contender::new("boxherd", move || get(link, content)),
        Contender::new("files API", move || api_get(api, content)),
    ]
    .into_iter()
    .chain(connector("get"))
    .collect();
    let goal = Goal { trips: 1.25, near: None };
    let mut held = Vec::new();
    for (name, what, contenders) in
        [("put-1k", "1 KiB into the box", puts), ("get-1k", "1 KiB out of the box", gets)]
    {
        let named = Named::new(way, name, what);
        let count = run.options.rounds;
        let contest = named.hold(run, Unit::Millis, contenders, count).await?;
        held.push(named.goal(contest, &goal));
    }
    link.close().await;
    let [put, get] = <[Contest; 2]>::try_from(held).expect("two were held");
    Ok([put, get])
}

async fn put(link: &Link, content: &Bytes) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut writer = link.files().write(PLACE, WriteOptions::default())?;
    writer.send(content.clone()).await?;
    writer.finish().await?;
    Ok(millis_since(start))
}

async fn get(link: &Link, content: &Bytes) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut reader = link.files().read(PLACE, ReadRange::default())?;
    let mut found = Vec::new();
    while let Some(piece) = reader.next().await? {
        found.extend_from_slice(&piece);
    }
    anyhow::ensure!(found == *content, "another file came back");
    Ok(millis_since(start))
}

/// As the connector writes files, so that both do the same.
const OWNED: NewFile =
    NewFile { meta: Some(FileMeta { uid: 0, gid: 0, mode: 0o644 }), append: false };

async fn api_put(api: &Instance, content: &Bytes) -> anyhow::Result<f64> {
    let start = Instant::now();
    api.write_file(PLACE, OWNED, content.clone()).await?;
    Ok(millis_since(start))
}

async fn api_get(api: &Instance, content: &Bytes) -> anyhow::Result<f64> {
    let start = Instant::now();
    let found = api_read(api, PLACE).await?;
    anyhow::ensure!(found == content.len() as u64, "another file came back");
    Ok(millis_since(start))
}

/// Reads a file to its end; returns how long it is.
async fn api_read(api: &Instance, place: &str) -> anyhow::Result<u64> {
    let Found::File(_, mut body) = api.read_file(place).await? else {
        anyhow::bail!("`{place}` is no file")
    };
    let mut count = 0;
    while let Some(piece) = body.chunk().await? {
        count += piece.len() as u64;
    }
    Ok(count)
}

/// A large file there, and back, by the link and by the API.
pub(super) async fn large(run: &mut Run, way: &Way) -> anyhow::Result<[Contest; 2]> {
    let (link, api, size) = (&way.link().await?, &way.instance()?, run.options.file_size);
    let puts = vec![
        Contender::new("boxherd", move || async move {
            files::settle();
            let start = Instant::now();
            files::put(link, size).await?;
            Ok(files::speed(size, start))
        }),
        Contender::new("files API", move || async move {
            files::settle();
            let start = Instant::now();
            let pieces = stream::iter(pieces(size).map(Ok));
            api.stream_file(files::PLACE, OWNED, Some(size), pieces).await?;
            Ok(files::speed(size, start))
        }),
    ];
    let gets = vec![
        Contender::new("boxherd", move || async move {
            let start = Instant::now();
            files::get(link, size).await?;
            Ok(files::speed(size, start))
        }),
        Contender::new("files API", move || async move {
            let start = Instant::now();
            let count = api_read(api, files::PLACE).await?;
            anyhow::ensure!(count == size, "{count} of {size} bytes came back");
            Ok(files::speed(size, start))
        }),
    ];
    let (unit, count) = (Unit::MegabytesPerSecond, run.options.few().min(5));
    let what = |way| format!("{:.0} MB {way} the box", size as f64 / files::MEGA);
    let put = Named::new(way, "put", &what("into")).hold(run, unit, puts, count).await?;
    let get = Named::new(way, "get", &what("out of")).hold(run, unit, gets, count).await?;
    link.close().await;
    Ok([put.target_ratio(2.0), get.target_ratio(2.0)])
}

/// So many bytes.
fn pieces(size: u64) -> impl Iterator<Item = Bytes> {
    let piece = Bytes::from(vec![0x5a; files::PIECE]);
    let full = size / files::PIECE as u64;
    let rest = usize::try_from(size % files::PIECE as u64).expect("it is less than a piece");
    let last = piece.slice(..rest);
    (0..full).map(move |_| piece.clone()).chain((rest > 0).then_some(last))
}
