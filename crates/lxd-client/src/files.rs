//! Files of an instance, streamed both ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Method;
use hyper::body::{Body as _, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::io::{AsyncRead, ReadBuf};

use crate::envelope;
use crate::error::{Error, Result};
use crate::instances::Instance;
use crate::pool::PooledBody;
use crate::transport::{Call, Payload};

/// Owner and mode of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileMeta {
    /// The user id, as the instance sees it.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// Permission bits, such as `0o644`.
    pub mode: u32,
}

/// What is to be made in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Owner and mode; `None` leaves those of a file that exists, and is root's 0644 otherwise.
    pub meta: Option<FileMeta>,
    /// Whether what is there is kept, and the content put after it.
    pub append: bool,
}

impl NewFile {
    /// A file that replaces what is there.
    #[must_use]
    pub fn with(meta: FileMeta) -> Self {
        Self { meta: Some(meta), append: false }
    }
}

/// What there is at a path.
#[derive(Debug)]
pub enum Found {
    /// A file with its content, or the target of a symlink.
    File(FileMeta, FileBody),
    /// A symbolic link and what it points to; LXD makes that an absolute path.
    Symlink(FileMeta, Vec<u8>),
    /// A folder and the names in it.
    Directory(FileMeta, Vec<String>),
}

/// The content of a file as it comes.
#[derive(Debug)]
pub struct FileBody {
    body: PooledBody,
    chunk: Bytes,
}

/// The headers of LXD, and of Incus after its renaming.
const PREFIXES: [&str; 2] = ["x-lxd-", "x-incus-"];

impl Instance {
    /// Reads a file, or lists a folder.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn read_file(&self, path: &str) -> Result<Found> {
        let call = Call::new(Method::GET, self.url(["files"]).query("path", path));
        let name = call.name();
        let response = self.client().stream(call).await?;
        let meta = file_meta(response.headers());
        let kind = header(response.headers(), "type").unwrap_or("file").to_owned();
        let body = response.into_body();
        match kind.as_str() {
            "file" => Ok(Found::File(meta, FileBody::new(body))),
            "symlink" => {
                Ok(Found::Symlink(meta, self.client().collect(&name, body).await?.to_vec()))
            }
            "directory" => Ok(Found::Directory(
                meta,
                names(&name, &self.client().collect(&name, body).await?)?,
            )),
            other => Err(Error::protocol(name, format!("a file of type `{other}`"))),
        }
    }

    /// Writes a file whose content is in memory. Its folder must exist.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] without a folder for it, and whatever a call may fail with.
    pub async fn write_file(
        &self,
        path: &str,
        new: NewFile,
        content: impl Into<Bytes>,
    ) -> Result<()> {
        let call = self.post(path, "file", new)?;
        self.send_file(Call { payload: Payload::Bytes(content.into()), ..call }).await
    }

    /// Writes a file whose content comes as a stream; `length` in bytes, where it is known, saves
    /// the chunked encoding.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] without a folder for it, [`Error::Broken`] with the error of the stream
    /// when that fails, and whatever a call may fail with.
    pub async fn stream_file<S>(
        &self,
        path: &str,
        new: NewFile,
        length: Option<u64>,
        content: S,
    ) -> Result<()>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let mut call = self.post(path, "file", new)?;
        if let Some(length) = length {
            call.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let body = StreamBody::new(content.map(|piece| piece.map(Frame::data)));
        let payload = Payload::Stream(Some(body.boxed_unsync()));
        self.send_file(Call { payload, ..call }).await
    }

    /// Makes a folder. Its parent must exist.
    ///
    /// # Errors
    ///
    /// As [`Instance::write_file`].
    pub async fn make_directory(&self, path: &str, meta: FileMeta) -> Result<()> {
        self.send_file(self.post(path, "directory", NewFile::with(meta))?).await
    }

    /// Makes a symbolic link to `target`.
    ///
    /// # Errors
    ///
    /// As [`Instance::write_file`].
    pub async fn make_symlink(&self, path: &str, target: &str) -> Result<()> {
        let call = self.post(path, "symlink", NewFile { meta: None, append: false })?;
        let payload = Payload::Bytes(target.to_owned().into());
        self.send_file(Call { payload, ..call }).await
    }

    /// Deletes a file or an empty folder.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn delete_file(&self, path: &str) -> Result<()> {
        let call = Call::new(Method::DELETE, self.url(["files"]).query("path", path));
        self.client().sync(call).await.map(drop)
    }

    /// A `POST` with a form's content type would store nothing and be answered with 200.
    fn post(&self, path: &str, kind: &str, new: NewFile) -> Result<Call> {
        let mut call = Call::new(Method::POST, self.url(["files"]).query("path", path));
        let octets = HeaderValue::from_static("application/octet-stream");
        call.headers.insert(CONTENT_TYPE, octets);
        let mut set = |name: &str, value: &str| -> Result<()> {
            for prefix in PREFIXES {
                let invalid = |error: &dyn ToString| Error::invalid("header", error.to_string());
                let name = hyper::header::HeaderName::try_from(format!("{prefix}{name}"))
                    .map_err(|error| invalid(&error))?;
                let value = HeaderValue::from_str(value).map_err(|error| invalid(&error))?;
                call.headers.insert(name, value);
            }
            Ok(())
        };
        set("type", kind)?;
        if new.append {
            set("write", "append")?;
        }
        if let Some(FileMeta { uid, gid, mode }) = new.meta {
            set("uid", &uid.to_string())?;
            set("gid", &gid.to_string())?;
            set("mode", &format!("{mode:04o}"))?;
        }
        Ok(call)
    }

    async fn send_file(&self, call: Call) -> Result<()> {
        let name = call.name();
        let response = self.client().stream(call).await?;
        let status = response.status();
        let body = self.client().collect(&name, response.into_body()).await?;
        envelope::open(&name, status, &body).map(drop)
    }
}

fn header<'headers>(headers: &'headers HeaderMap, name: &str) -> Option<&'headers str> {
    PREFIXES.iter().find_map(|prefix| headers.get(format!("{prefix}{name}"))?.to_str().ok())
}

fn file_meta(headers: &HeaderMap) -> FileMeta {
    let number = |name| header(headers, name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let mode = header(headers, "mode").and_then(|text| u32::from_str_radix(text, 8).ok());
    FileMeta { uid: number("uid"), gid: number("gid"), mode: mode.unwrap_or(0) }
}

#[derive(Deserialize)]
struct Listing {
    /// `null` for an empty folder.
    metadata: Option<Vec<String>>,
}

fn names(call: &str, body: &[u8]) -> Result<Vec<String>> {
    let listing: Listing =
        serde_json::from_slice(body).map_err(|error| Error::protocol(call, error))?;
    Ok(listing.metadata.unwrap_or_default())
}

impl FileBody {
    pub(crate) fn new(body: PooledBody) -> Self {
        Self { body, chunk: Bytes::new() }
    }

    /// The next piece as it came; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the connection broke before the end.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// How many bytes are left, where the server tells.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.body.size_hint().exact().map(|length| length + self.chunk.len() as u64)
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.chunk.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.chunk))));
        }
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Ok(Some(data))),
                    // Trailers, or nothing.
                    _ => {}
                },
            }
        }
    }
}

impl AsyncRead for FileBody {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut data) = ready!(self.poll_chunk(cx))? {
            let taken = data.len().min(buf.remaining());
            buf.put_slice(&data[..taken]);
            data.advance(taken);
            self.chunk = data;
        }
        Poll::Ready(Ok(()))
    }
}
