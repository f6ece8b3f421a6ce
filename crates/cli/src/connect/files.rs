//! Files, one at a time, as streams.

use boxherd_link::{FileKind, FileStat, ReadRange, WriteOptions};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::Desk;
use super::answer::Refusal;
use super::request::{Get, Put, invalid};
use super::table::Ends;

/// Writes a file. It is in its place, whole, when this is done, and not before.
pub(super) async fn put(desk: &Desk, id: u64, asked: Put, mut ends: Ends) -> Result<(), Refusal> {
    absolute(&asked.path)?;
    let owner = match (asked.uid, asked.gid) {
        (Some(uid), Some(gid)) => Some((uid, gid)),
        (None, None) => None,
        _ => return Err(invalid("`uid` and `gid` are given together")),
    };
    let parents = asked.parents;
    let options = WriteOptions { mode: asked.mode, owner, parents, ..WriteOptions::default() };
    let mut writer = desk.herd.link(&asked.address).await?.files().write(&asked.path, options)?;
    let mut size = 0;
    while let Some(bytes) = ends.next().await {
        let length = bytes.len();
        writer.send(bytes).await?;
        size += length as u64;
        ends.incoming.used(id, length, &desk.answers);
    }
    writer.finish().await?;
    desk.answers.event(id, "done", json!({ "size": size }));
    Ok(())
}

/// Reads a file: first what it is, then what is in it.
pub(super) async fn get(desk: &Desk, id: u64, asked: &Get, ends: Ends) -> Result<(), Refusal> {
    absolute(&asked.path)?;
    let files = desk.herd.link(&asked.address).await?.files();
    let mut reader = files.read(&asked.path, ReadRange::default())?;
    // Both at once: a small file costs one round trip.
    let (stat, first) = tokio::join!(files.stat(&asked.path), reader.next());
    let stat = stat?;
    refuse_what_is_no_file(&asked.path, &stat)?;
    let FileStat { size, mode, uid, gid, .. } = stat;
    let told = json!({ "size": size, "mode": mode, "uid": uid, "gid": gid });
    desk.answers.event(id, "file", told);
    let mut next = first?;
    while let Some(bytes) = next {
        ends.outgoing.take(bytes.len()).await?;
        desk.answers.bytes(id, "data", &bytes);
        next = reader.next().await?;
    }
    desk.answers.event(id, "done", Value::Null);
    Ok(())
}

fn refuse_what_is_no_file(path: &str, stat: &FileStat) -> Result<(), Refusal> {
    match stat.kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(Refusal::file(path, "is a directory, not a file", Errno::ISDIR)),
        _ => Err(Refusal::file(path, "is no regular file", Errno::INVAL)),
    }
}

fn absolute(path: &str) -> Result<(), Refusal> {
    if path.starts_with('/') {
        return Ok(());
    }
    Err(invalid(format!("`{path}` is no absolute path")))
}
