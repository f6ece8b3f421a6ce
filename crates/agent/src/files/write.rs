//! Writing files: beside their place and renamed, so that nobody sees a half-written one, or in
//! place where that is asked for.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use boxherd_link::conn::{Inbound, Stream};
use boxherd_link::{proto, window};
use bytes::Bytes;
use prost::Message as _;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::ops::make_parents;
use crate::{Inner, done, io_failure};

/// Takes the content of a file as data, then says how it went. A stream that ends before its
/// content leaves what was there before.
pub(crate) async fn write(inner: Arc<Inner>, stream: Stream, request: proto::Write) {
    let path = inner.place(&request.path);
    stream.grant(window::NEAR);
    let opened = on_thread(move || Target::open(path, &request)).await;
    let target = match opened {
        Ok(target) => target,
        Err(error) => return stream.end(io_failure(&error)),
    };
    let stream = Arc::new(stream);
    // The window bounds what waits here.
    let (chunks, waiting) = mpsc::unbounded_channel();
    let mut intake = Intake { stream: Arc::clone(&stream), chunks, taken: 0, whole: false };
    let writer = Writer { target, chunks: waiting, stream: Arc::clone(&stream) };
    if let Some(result) = fill(&mut intake, writer).await {
        stream.end(done(result));
    }
    tidy(intake.taken);
}

/// Writes what comes, and says how it went; `None` when the stream ends before its content.
///
/// A thread writes for as long as something waits, and more is received meanwhile. A client that
/// sends nothing holds none.
async fn fill(intake: &mut Intake, mut writer: Writer) -> Option<io::Result<()>> {
    loop {
        if writer.chunks.is_empty() {
            intake.next().await?;
        }
        let mut written = pin!(on_thread(move || writer.write()));
        let result = loop {
            tokio::select! {
                result = &mut written => break result,
                came = intake.next(), if !intake.whole => came?,
            }
        };
        match result {
            Ok(Some(unfinished)) => writer = unfinished,
            Ok(None) => return Some(Ok(())),
            Err(error) => return Some(Err(error)),
        }
    }
}

/// What comes on a stream, on its way to the writer.
struct Intake {
    stream: Arc<Stream>,
    chunks: mpsc::UnboundedSender<Chunk>,
    /// What has come, in bytes.
    taken: u64,
    /// Nothing more comes.
    whole: bool,
}

impl Intake {
    /// Hands the next chunk over; `None` when the stream ends before its content. Nothing is lost
    /// when this is dropped before it is done.
    async fn next(&mut self) -> Option<()> {
        let chunk = Chunk::receive(&self.stream).await?;
        self.taken += u64::from(chunk.cost);
        self.whole = chunk.fin;
        // A writer that has failed takes no more, and has said why.
        drop(self.chunks.send(chunk));
        Some(())
    }
}

/// A file that is being written, and what waits for it.
struct Writer {
    target: Target,
    chunks: mpsc::UnboundedReceiver<Chunk>,
    stream: Arc<Stream>,
}

impl Writer {
    /// Writes everything that waits; `None` when the file is whole and in its place.
    fn write(mut self) -> io::Result<Option<Self>> {
        let mut batch = Vec::new();
        loop {
            while let Ok(chunk) = self.chunks.try_recv() {
                batch.push(chunk);
            }
            if batch.is_empty() {
                return Ok(Some(self));
            }
            // At once, which wakes the other side seldom and for much; and before it is written, so
            // that more arrives meanwhile.
            self.stream.release(batch.iter().map(|chunk| chunk.cost).sum());
            for chunk in batch.drain(..) {
                self.target.write(&chunk.bytes)?;
                if chunk.fin {
                    return self.target.commit().map(|()| None);
                }
            }
        }
    }
}

/// A part of a content.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) cost: u32,
    pub(super) fin: bool,
}

impl Chunk {
    /// Waits for one; `None` when the stream ends before its content.
    pub(super) async fn receive(stream: &Stream) -> Option<Self> {
        loop {
            match stream.recv().await.ok()? {
                Inbound::Data { bytes, fin, cost, .. } => return Some(Self { bytes, cost, fin }),
                Inbound::Message(message) => {
                    let asked = proto::Control::decode(message).ok().and_then(|asked| asked.what);
                    if let Some(proto::Do::Widen(more)) = asked {
                        stream.grant(more.min(window::MOST_IN));
                    }
                }
                Inbound::End | Inbound::Reset => return None,
            }
        }
    }
}

/// From this size on a transfer is followed by giving memory back, in bytes.
const LARGE: u64 = 1024 * 1024;
/// When what was on its way has been sent and freed.
const SOON: Duration = Duration::from_millis(500);

/// An agent is small when it is idle: what a large transfer made the allocator take is given back.
pub(super) fn tidy(transferred: u64) {
    if transferred >= LARGE {
        tokio::spawn(async {
            tokio::time::sleep(SOON).await;
            boxherd_sys::init::trim_memory();
        });
    }
}

/// Runs on a thread that may block.
pub(super) async fn on_thread<T: Send + 'static>(
    run: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(run).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A file with less than its content.
struct Target {
    file: File,
    offset: u64,
    sync: bool,
    /// The name it has until it is whole, and the one it gets then.
    rename: Option<(Temporary, PathBuf)>,
}

/// A name that vanishes unless it is kept.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // When it is gone already there is nothing to do, and a directory that has become
        // read-only meanwhile leaves nobody to tell.
        drop(fs::remove_file(&self.0));
    }
}

impl Target {
    fn open(path: PathBuf, request: &proto::Write) -> io::Result<Self> {
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(Errno::ISDIR.into());
        }
        if request.parents
            && let Some(parent) = path.parent()
        {
            make_parents(parent)?;
        }
        // A link is written through, as every program does.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let existing = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => return Err(Errno::ISDIR.into()),
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let special = existing.as_ref().is_some_and(|m| !m.is_file());
        if request.at.is_some() || special {
            return Self::open_in_place(&path, request, existing.is_some(), special);
        }
        Self::open_beside(path, request, existing.as_ref())
    }

    fn open_in_place(
        path: &Path,
        request: &proto::Write,
        exists: bool,
        special: bool,
    ) -> io::Result<Self> {
        let mode = request.mode.unwrap_or(0o644) & 0o7777;
        // Without blocking on a pipe that nobody reads from.
        let nonblock = OFlags::NONBLOCK.bits() as i32;
        let mut options = File::options();
        options.write(true).create(true).mode(mode);
        if special {
            options.custom_flags(nonblock);
        }
        let file = options.open(path)?;
        if special && file.metadata()?.file_type().is_fifo() {
            return Err(rustix::io::Errno::SPIPE.into());
        }
        if !special && (!exists || request.mode.is_some()) {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        if let Some(owner) = request.owner {
            fchown(&file, Some(owner.uid), Some(owner.gid))?;
        }
        let offset = request.at.unwrap_or(0);
        if request.truncate {
            file.set_len(offset)?;
        }
        Ok(Self { file, offset, sync: request.sync, rename: None })
    }

    fn open_beside(
        path: PathBuf,
        request: &proto::Write,
        existing: Option<&fs::Metadata>,
    ) -> io::Result<Self> {
        let (file, temporary) = create_beside(&path)?;
        let kept = existing.map(|m| (m.uid(), m.gid()));
        if let Some((uid, gid)) = request.owner.map(|o| (o.uid, o.gid)).or(kept) {
            fchown(&file, Some(uid), Some(gid))?;
        }
        let mode = request.mode.or(existing.map(MetadataExt::mode)).unwrap_or(0o644);
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        Ok(Self { file, offset: 0, sync: request.sync, rename: Some((temporary, path)) })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all_at(bytes, self.offset) {
            // A terminal, say.
            Err(error) if error.raw_os_error() == Some(SPIPE) => self.file.write_all(bytes)?,
            result => result?,
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Puts the file in its place.
    fn commit(self) -> io::Result<()> {
        if self.sync {
            self.file.sync_all()?;
        }
        let Some((temporary, path)) = self.rename else { return Ok(()) };
        if self.sync || self.offset < LARGE || !exchange(&temporary.0, &path)? {
            fs::rename(&temporary.0, &path)?;
        }
        std::mem::forget(temporary);
        match path.parent() {
            Some(parent) if self.sync => File::open(parent)?.sync_all(),
            _ => Ok(()),
        }
    }
}

/// Puts `new` in the place of the file at `path`, which is removed, its content a little later;
/// `false` when there is none, or the file system cannot. Called on a thread of the runtime.
///
/// Renaming over a file makes ext4 and btrfs send the whole content to the disk first, lest a crash
/// of the host leave an empty file: seconds for a gigabyte that nobody asked to sync. Exchanging the
/// two names does not, and is as atomic to those who look.
fn exchange(new: &Path, path: &Path) -> io::Result<bool> {
    let exchange = || renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE);
    match exchange() {
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => return Ok(false),
        result => result?,
    }
    // It lives for as long as it is open, and if it cannot be opened, it is freed at once. Freeing a
    // gigabyte takes a tenth of a second.
    let old = File::options().read(true).custom_flags(OFlags::PATH.bits() as i32).open(new);
    let Err(error) = fs::remove_file(new) else {
        tokio::task::spawn_blocking(move || drop(old));
        return Ok(true);
    };
    // A directory was made there since the upload began: it stays.
    exchange()?;
    Err(error)
}

const SPIPE: i32 = Errno::SPIPE.raw_os_error();

/// A new file next to `path`, hidden, and readable by nobody else yet.
fn create_beside(path: &Path) -> io::Result<(File, Temporary)> {
    let directory = path.parent().ok_or(Errno::ISDIR)?;
    loop {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!(".boxherd-{:016x}", u64::from_le_bytes(random));
        let place = directory.join(name);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&place);
        match file {
            Ok(file) => return Ok((file, Temporary(place))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Replaces a small file at once.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let (mut file, temporary) = create_beside(path)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    fs::rename(&temporary.0, path)?;
    std::mem::forget(temporary);
    Ok(())
}
