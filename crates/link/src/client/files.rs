//! The files of a box. Paths are those inside the box, and are resolved there.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::{Buf, BytesMut};
use prost::Message;

use super::transfer::{About, FileReader, FileWriter};
use super::unexpected;
use crate::conn::Conn;
use crate::convert::path_bytes;
use crate::proto::{self, Answer, Ask, Request};
use crate::types::{
    DirEntry, FileStat, MkdirOptions, ReadRange, RemoveOptions, StatVfs, TarOptions, WriteOptions,
};
use crate::{LinkError, Violation};

/// The most that a listing may take on the wire, in bytes: some hundred thousand entries.
const MAX_LISTING: usize = 64 * 1024 * 1024;

/// Files of a box, by the box's root. Cheap to clone. Every error names the operation and the path.
#[derive(Clone)]
pub struct Files {
    conn: Conn,
}

impl Files {
    pub(super) fn new(conn: Conn) -> Self {
        Self { conn }
    }

    /// Reads a file. Errors come with the first piece.
    pub fn read(&self, path: impl AsRef<Path>, range: ReadRange) -> Result<FileReader, LinkError> {
        let path = path.as_ref();
        let ReadRange { offset, length } = range;
        let read = proto::Read { path: path_bytes(path), offset, length };
        let stream = self.conn.request(Request::Read(read))?;
        Ok(FileReader::new(stream, About::new("read", path)))
    }

    /// Writes a file; see [`WriteOptions`]. Errors come with a later write or with
    /// [`finish`](FileWriter::finish).
    pub fn write(
        &self,
        path: impl AsRef<Path>,
        options: WriteOptions,
    ) -> Result<FileWriter, LinkError> {
        let path = path.as_ref();
        let write = proto::Write {
            path: path_bytes(path),
            mode: options.mode,
            owner: options.owner.map(|(uid, gid)| proto::Owner { uid, gid }),
            parents: options.parents,
            at: options.at,
            truncate: options.truncate,
            sync: options.sync,
        };
        let stream = self.conn.request(Request::Write(write))?;
        Ok(FileWriter::new(stream, About::new("write", path)))
    }

    /// A file or a whole tree as a tar archive; names in it are relative to the directory, and a
    /// file that is no directory is the only entry.
    pub fn tar_out(&self, path: impl AsRef<Path>) -> Result<FileReader, LinkError> {
        self.tar_out_as(path, "")
    }

    /// Like [`tar_out`](Self::tar_out), but a directory is an entry itself, called `prefix`, and
    /// the names of what is in it begin so.
    pub fn tar_out_as(
        &self,
        path: impl AsRef<Path>,
        prefix: impl AsRef<Path>,
    ) -> Result<FileReader, LinkError> {
        let path = path.as_ref();
        let prefix = path_bytes(prefix.as_ref());
        let request = Request::TarOut(proto::TarOut { path: path_bytes(path), prefix });
        let stream = self.conn.request(request)?;
        Ok(FileReader::new(stream, About::new("read", path)))
    }

    /// Unpacks a tar archive into a directory.
    pub fn tar_in(
        &self,
        path: impl AsRef<Path>,
        options: TarOptions,
    ) -> Result<FileWriter, LinkError> {
        let path = path.as_ref();
        let owner = options.owner.map(|(uid, gid)| proto::Owner { uid, gid });
        let tar = proto::TarIn { path: path_bytes(path), parents: options.parents, owner };
        let stream = self.conn.request(Request::TarIn(tar))?;
        Ok(FileWriter::new(stream, About::new("unpack into", path)))
    }

    /// What `stat(2)` says, following links.
    pub async fn stat(&self, path: impl AsRef<Path>) -> Result<FileStat, LinkError> {
        let path = path.as_ref();
        let ask = Ask::Stat(proto::Path { path: path_bytes(path) });
        stat(self.ask("stat", path, ask).await?)
    }

    /// What `lstat(2)` says, not following a link at the end.
    pub async fn lstat(&self, path: impl AsRef<Path>) -> Result<FileStat, LinkError> {
        let path = path.as_ref();
        let ask = Ask::Lstat(proto::Path { path: path_bytes(path) });
        stat(self.ask("lstat", path, ask).await?)
    }

    /// The file system that holds `path`.
    pub async fn statvfs(&self, path: impl AsRef<Path>) -> Result<StatVfs, LinkError> {
        let path = path.as_ref();
        let ask = Ask::StatVfs(proto::Path { path: path_bytes(path) });
        match self.ask("statvfs", path, ask).await? {
            Answer::StatVfs(fs) => Ok(fs.into()),
            _ => Err(unexpected()),
        }
    }

    /// The entries of a directory, sorted by name, without `.` and `..`.
    pub async fn list(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>, LinkError> {
        let path = path.as_ref();
        let request = Request::List(proto::Path { path: path_bytes(path) });
        let (stream, about) = (self.conn.request(request)?, About::new("list", path));
        let mut reader = FileReader::new(stream, about);
        let (mut buffer, mut entries, mut total) = (BytesMut::new(), Vec::new(), 0);
        while let Some(piece) = reader.next().await? {
            total += piece.len();
            if total > MAX_LISTING {
                return Err(LinkError::TooLarge { limit: MAX_LISTING });
            }
            buffer.extend_from_slice(&piece);
            take_entries(&mut buffer, &mut entries)?;
        }
        if !buffer.is_empty() {
            return Err(LinkError::Protocol(Violation::Malformed("a listing")));
        }
        entries.sort_unstable_by(|a: &DirEntry, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Makes a directory.
    pub async fn mkdir(
        &self,
        path: impl AsRef<Path>,
        options: MkdirOptions,
    ) -> Result<(), LinkError> {
        let path = path.as_ref();
        let MkdirOptions { mode, parents } = options;
        let ask = Ask::Mkdir(proto::Mkdir { path: path_bytes(path), mode, parents });
        self.tell("make directory", path, ask).await
    }

    /// Removes a file, an empty directory, or with `recursive` a tree, which takes as long as it
    /// takes. Links are not followed.
    pub async fn remove(
        &self,
        path: impl AsRef<Path>,
        options: RemoveOptions,
    ) -> Result<(), LinkError> {
        let path = path.as_ref();
        let RemoveOptions { recursive, missing_ok } = options;
        let ask = Ask::Remove(proto::Remove { path: path_bytes(path), recursive, missing_ok });
        let removed = super::ask_at_leisure(&self.conn, ask).await;
        done(removed.map_err(|error| About::new("remove", path).name(error))?)
    }

    /// Renames, replacing what is at `to`.
    pub async fn rename(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<(), LinkError> {
        let from = from.as_ref();
        self.tell("rename", from, Ask::Rename(pair(from, to.as_ref()))).await
    }

    /// Cuts or extends a file to `size` bytes.
    pub async fn truncate(&self, path: impl AsRef<Path>, size: u64) -> Result<(), LinkError> {
        let path = path.as_ref();
        let ask = Ask::Truncate(proto::Truncate { path: path_bytes(path), size });
        self.tell("truncate", path, ask).await
    }

    /// Makes a symbolic link at `path` that says `target`.
    pub async fn symlink(
        &self,
        target: impl AsRef<Path>,
        path: impl AsRef<Path>,
    ) -> Result<(), LinkError> {
        let path = path.as_ref();
        self.tell("link", path, Ask::Symlink(pair(target.as_ref(), path))).await
    }

    /// What a symbolic link says. The box's: never follow it on the host.
    pub async fn readlink(&self, path: impl AsRef<Path>) -> Result<PathBuf, LinkError> {
        let path = path.as_ref();
        let ask = Ask::ReadLink(proto::Path { path: path_bytes(path) });
        match self.ask("read link", path, ask).await? {
            Answer::Path(target) => Ok(OsString::from_vec(target.path).into()),
            _ => Err(unexpected()),
        }
    }

    /// Gives the file at `from` the further name `to`.
    pub async fn hard_link(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<(), LinkError> {
        let to = to.as_ref();
        self.tell("link", to, Ask::HardLink(pair(from.as_ref(), to))).await
    }

    /// Sets the times of last access and last change; what is `None` stays. Follows links unless
    /// `no_follow`.
    pub async fn set_times(
        &self,
        path: impl AsRef<Path>,
        accessed: Option<SystemTime>,
        modified: Option<SystemTime>,
        no_follow: bool,
    ) -> Result<(), LinkError> {
        let path = path.as_ref();
        let (accessed, modified) = (accessed.map(Into::into), modified.map(Into::into));
        let path_bytes = path_bytes(path);
        let ask =
            Ask::SetTimes(proto::SetTimes { path: path_bytes, accessed, modified, no_follow });
        self.tell("set times of", path, ask).await
    }

    /// Sets the permission bits, following links.
    pub async fn chmod(&self, path: impl AsRef<Path>, mode: u32) -> Result<(), LinkError> {
        let path = path.as_ref();
        let ask = Ask::Chmod(proto::Chmod { path: path_bytes(path), mode });
        self.tell("chmod", path, ask).await
    }

    /// Sets owner and group by number; what is `None` stays. Follows links unless `no_follow`.
    pub async fn chown(
        &self,
        path: impl AsRef<Path>,
        uid: Option<u32>,
        gid: Option<u32>,
        no_follow: bool,
    ) -> Result<(), LinkError> {
        let path = path.as_ref();
        let ask = Ask::Chown(proto::Chown { path: path_bytes(path), uid, gid, no_follow });
        self.tell("chown", path, ask).await
    }

    async fn ask(&self, op: &'static str, path: &Path, ask: Ask) -> Result<Answer, LinkError> {
        super::ask(&self.conn, ask).await.map_err(|error| About::new(op, path).name(error))
    }

    async fn tell(&self, op: &'static str, path: &Path, ask: Ask) -> Result<(), LinkError> {
        done(self.ask(op, path, ask).await?)
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

fn pair(from: &Path, to: &Path) -> proto::Pair {
    proto::Pair { from: path_bytes(from), to: path_bytes(to) }
}

fn done(answer: Answer) -> Result<(), LinkError> {
    match answer {
        Answer::Done(_) => Ok(()),
        _ => Err(unexpected()),
    }
}

fn stat(answer: Answer) -> Result<FileStat, LinkError> {
    match answer {
        Answer::Stat(stat) => Ok(stat.into()),
        _ => Err(unexpected()),
    }
}

/// Moves the whole entries at the front of `buffer` to `entries`.
fn take_entries(buffer: &mut BytesMut, entries: &mut Vec<DirEntry>) -> Result<(), LinkError> {
    let malformed = || LinkError::Protocol(Violation::Malformed("a listing"));
    loop {
        let mut rest = &buffer[..];
        let length = match prost::decode_length_delimiter(&mut rest) {
            Ok(length) => length,
            // Ten bytes hold any length; fewer may be the beginning of one.
            Err(_) if buffer.len() < 10 => return Ok(()),
            Err(_) => return Err(malformed()),
        };
        if length > crate::mux::MAX_MESSAGE {
            return Err(malformed());
        }
        if rest.len() < length {
            return Ok(());
        }
        let entry = proto::Entry::decode(&rest[..length]).map_err(|_| malformed())?;
        entries.push(entry.into());
        let whole = buffer.len() - rest.len() + length;
        buffer.advance(whole);
    }
}
