//! Files of boxes, whole and in pieces.

use std::time::{SystemTime, UNIX_EPOCH};

use boxherd_boxd_api as api;
use boxherd_herd::{HerdError, InUse};
use boxherd_link::{
    FileKind, FileReader, Files, LinkError, MkdirOptions, ReadRange, RemoveOptions, WriteOptions,
};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tonic::{Status, Streaming};

use crate::MAX_MESSAGE;
use crate::desk::Desk;
use crate::status::status;
use crate::translate::invalid;

/// Where relative paths begin.
const HOME: &str = "/root";
/// Bytes of a piece of a file.
const PIECE: usize = 1024 * 1024;
/// Entries of a folder that are listed.
const MAX_ENTRIES: usize = 10_000;

type Answer<T> = Result<T, HerdError>;

/// A box whose files are asked for.
struct Place {
    files: Files,
    name: String,
    _awake: InUse,
}

impl Place {
    async fn find(desk: &Desk<'_>, vm_id: &str) -> Answer<Self> {
        let address = desk.address("vm_id", vm_id)?;
        let (found, awake) = desk.herd.keep_awake(&address).await?;
        desk.about(found.id());
        let files = desk.herd.link_to(found).await?.files();
        Ok(Self { files, name: address.to_string(), _awake: awake })
    }

    fn failed(&self) -> impl Fn(LinkError) -> HerdError + use<> {
        let name = self.name.clone();
        move |source| HerdError::Link { name: name.clone(), source }
    }
}

/// An absolute path in the box.
fn path(field: &'static str, text: &str) -> Answer<String> {
    match text {
        "" => Err(invalid(field, "name a file")),
        text if text.contains('\0') => Err(invalid(field, "it has a NUL byte")),
        text if text.starts_with('/') => Ok(text.to_owned()),
        text => Ok(format!("{HOME}/{text}")),
    }
}

fn replacing() -> WriteOptions {
    WriteOptions { parents: true, ..WriteOptions::default() }
}

pub(crate) async fn upload(
    desk: &Desk<'_>,
    asked: api::UploadFileRequest,
) -> Answer<api::UploadFileResponse> {
    let path = path("path", &asked.path)?;
    let place = Place::find(desk, &asked.vm_id).await?;
    let bytes_written = asked.data.len() as u64;
    let written = async {
        let mut writer = place.files.write(path, replacing())?;
        writer.send(asked.data).await?;
        writer.finish().await
    };
    written.await.map_err(place.failed())?;
    Ok(api::UploadFileResponse { bytes_written })
}

/// A file in pieces, of which the first says where it goes and how long it is. One that is cut short
/// leaves what was there.
pub(crate) async fn upload_stream(
    desk: &Desk<'_>,
    first: api::UploadFileChunk,
    mut pieces: Streaming<api::UploadFileChunk>,
) -> Answer<api::UploadFileResponse> {
    let path = path("path", &first.path)?;
    let total = first.total_size;
    let place = Place::find(desk, &first.vm_id).await?;
    let mut writer = place.files.write(path, replacing()).map_err(place.failed())?;
    let mut written = 0;
    let mut piece = Some(first.data);
    while let Some(data) = piece {
        written += data.len() as u64;
        if written > total {
            return Err(invalid("total_size", format!("more than {total} bytes came")));
        }
        writer.send(data).await.map_err(place.failed())?;
        piece = match pieces.message().await {
            Ok(next) => next.map(|chunk| chunk.data),
            Err(gone) => return Err(invalid("data", gone.message())),
        };
    }
    if written < total {
        return Err(invalid("total_size", format!("only {written} of {total} bytes came")));
    }
    writer.finish().await.map_err(place.failed())?;
    Ok(api::UploadFileResponse { bytes_written: written })
}

pub(crate) async fn download(
    desk: &Desk<'_>,
    asked: api::DownloadFileRequest,
) -> Answer<api::DownloadFileResponse> {
    let path = path("path", &asked.path)?;
    let place = Place::find(desk, &asked.vm_id).await?;
    let read = async {
        let reader = place.files.read(path, ReadRange::default())?;
        reader.read_all(MAX_MESSAGE).await
    };
    Ok(api::DownloadFileResponse { data: read.await.map_err(place.failed())? })
}

/// A file that is being sent.
struct Reading {
    reader: FileReader,
    first: Option<(u64, Bytes)>,
    rest: Bytes,
    place: Place,
}

pub(crate) async fn download_stream(
    desk: &Desk<'_>,
    asked: api::DownloadFileRequest,
) -> Answer<impl Stream<Item = Result<api::DownloadFileChunk, Status>> + Send + use<>> {
    let path = path("path", &asked.path)?;
    let place = Place::find(desk, &asked.vm_id).await?;
    let stat = place.files.stat(&path).await.map_err(place.failed())?;
    let mut reader = place.files.read(path, ReadRange::default()).map_err(place.failed())?;
    // A file that cannot be read is an error before the stream, not in it.
    let begun = reader.next().await.map_err(place.failed())?.unwrap_or_default();
    // What grows or is made up as it is read (`/proc`) has no size that could be promised.
    let size = if stat.kind == FileKind::File { stat.size } else { 0 };
    let first = Some((size, begun));
    Ok(unfold(Some(Reading { reader, first, rest: Bytes::new(), place }), piece))
}

type Piece = Result<api::DownloadFileChunk, Status>;

async fn piece(reading: Option<Reading>) -> Option<(Piece, Option<Reading>)> {
    let mut reading = reading?;
    let total_size = match reading.first.take() {
        Some((size, begun)) => {
            reading.rest = begun;
            size
        }
        None => {
            match reading.reader.next().await {
                Ok(Some(data)) => reading.rest = data,
                Ok(None) => return None,
                Err(error) => {
                    let error = status(&reading.place.failed()(error));
                    return Some((Err(error), None));
                }
            }
            0
        }
    };
    let data = std::mem::take(&mut reading.rest);
    debug_assert!(data.len() <= PIECE, "the link sends smaller pieces");
    Some((Ok(api::DownloadFileChunk { total_size, data }), Some(reading)))
}

pub(crate) async fn list(
    desk: &Desk<'_>,
    asked: api::ListDirRequest,
) -> Answer<api::ListDirResponse> {
    let path = path("path", &asked.path)?;
    let place = Place::find(desk, &asked.vm_id).await?;
    let listed = place.files.list(path).await.map_err(place.failed())?;
    let truncated = listed.len() > MAX_ENTRIES;
    let entries = listed.iter().take(MAX_ENTRIES).map(|entry| api::DirEntry {
        name: entry.name.to_string_lossy().into_owned(),
        is_dir: entry.stat.kind == FileKind::Directory,
        size_bytes: entry.stat.size,
        permissions: permissions(entry.stat.kind, entry.stat.mode),
        modified_at: seconds(entry.stat.modified),
        added_at: seconds(entry.stat.changed),
    });
    Ok(api::ListDirResponse { entries: entries.collect(), truncated })
}

/// As `ls -l` shows them.
fn permissions(kind: FileKind, mode: u32) -> String {
    let kind = match kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
    };
    let bits = (0..9).rev().map(|bit| match mode >> bit & 1 {
        1 => ['x', 'w', 'r'][bit % 3],
        _ => '-',
    });
    std::iter::once(kind).chain(bits).collect()
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

pub(crate) async fn mkdir(desk: &Desk<'_>, asked: api::MkdirRequest) -> Answer<api::MkdirResponse> {
    let path = path("path", &asked.path)?;
    let place = Place::find(desk, &asked.vm_id).await?;
    let options = MkdirOptions { mode: None, parents: true };
    place.files.mkdir(path, options).await.map_err(place.failed())?;
    Ok(api::MkdirResponse {})
}

pub(crate) async fn rename(
    desk: &Desk<'_>,
    asked: api::RenamePathRequest,
) -> Answer<api::RenamePathResponse> {
    let (old, new) = (path("old_path", &asked.old_path)?, path("new_path", &asked.new_path)?);
    let place = Place::find(desk, &asked.vm_id).await?;
    place.files.rename(old, new).await.map_err(place.failed())?;
    Ok(api::RenamePathResponse {})
}

pub(crate) async fn copy(
    desk: &Desk<'_>,
    asked: api::CopyPathRequest,
) -> Answer<api::CopyPathResponse> {
    let (old, new) = (path("old_path", &asked.old_path)?, path("new_path", &asked.new_path)?);
    let address = desk.address("vm_id", &asked.vm_id)?;
    let (found, _awake) = desk.herd.keep_awake(&address).await?;
    desk.about(found.id());
    let _slot = desk.herd.exec_slot().await?;
    desk.herd.copy_within(&address, &old, &new).await?;
    Ok(api::CopyPathResponse {})
}

pub(crate) async fn delete(
    desk: &Desk<'_>,
    asked: api::DeletePathRequest,
) -> Answer<api::DeletePathResponse> {
    let path = path("path", &asked.path)?;
    let place = Place::find(desk, &asked.vm_id).await?;
    let options = RemoveOptions { recursive: true, missing_ok: false };
    place.files.remove(path, options).await.map_err(place.failed())?;
    Ok(api::DeletePathResponse {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_look_as_in_ls() {
        assert_eq!(permissions(FileKind::File, 0o644), "-rw-r--r--");
        assert_eq!(permissions(FileKind::Directory, 0o4755), "drwxr-xr-x");
    }

    #[test]
    fn relative_paths_begin_at_home() {
        assert_eq!(path("path", "a/b").unwrap(), "/root/a/b");
        assert_eq!(path("path", "/a").unwrap(), "/a");
        assert!(path("path", "").is_err());
        assert!(path("path", "a\0").is_err());
    }
}
