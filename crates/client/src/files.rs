//! Files of boxes, whole and in pieces.

use std::pin::Pin;
use std::sync::Arc;

use boxherd_boxd_api as api;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tonic::{Request, Streaming};

use crate::client::{Client, Wire, ask};
use crate::{Error, MAX_MESSAGE};

/// Bytes in one message.
const PIECE: usize = 1024 * 1024;

/// The files of one box. Relative paths begin at the home of its user.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let files = client.files("web");
/// files.write("/srv/index.html", "hello").await?;
/// assert_eq!(files.read("/srv/index.html").await?, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Files {
    pub(crate) client: Client,
    pub(crate) of: String,
}

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its name in the folder.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_dir: bool,
    /// In bytes.
    pub size: u64,
    /// As `ls -l` shows them.
    pub permissions: String,
    /// When its content changed last, in seconds since 1970.
    pub modified: i64,
}

/// A file that is being read.
#[derive(Debug)]
pub struct Reader {
    pieces: Streaming<api::DownloadFileChunk>,
    size: Option<u64>,
    read: u64,
}

impl Files {
    pub(crate) fn new(client: Client, of: String) -> Self {
        Self { client, of }
    }

    /// A whole file, of at most 64 MiB; a larger one is to be read in pieces ([`Files::reader`]).
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// let bytes = files.read("/etc/hostname").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, path: &str) -> Result<Bytes, Error> {
        let mut reader = self.reader(path).await?;
        let mut whole = BytesMut::new();
        while let Some(piece) = reader.next().await? {
            if whole.len() + piece.len() > MAX_MESSAGE {
                let message = format!("`{path}` is larger than 64 MiB: read it in pieces");
                return Err(Error::Config(message));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Begins to read a file.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// let mut reader = files.reader("/var/log/syslog").await?;
    /// while let Some(piece) = reader.next().await? {
    ///     println!("{} bytes", piece.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reader(&self, path: &str) -> Result<Reader, Error> {
        let asked = api::DownloadFileRequest { vm_id: self.of.clone(), path: path.to_owned() };
        let pieces = ask!(self.client, Looks, download_file_stream, asked)?;
        Ok(Reader { pieces, size: None, read: 0 })
    }

    /// Writes a whole file, and the folders above it. Whoever reads meanwhile sees the old file or
    /// the new one.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// files.write("/srv/a", "content").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(&self, path: &str, content: impl Into<Bytes>) -> Result<(), Error> {
        let content = content.into();
        let size = content.len() as u64;
        let method = |mut wire: Wire, asked| async move { wire.upload_file_stream(asked).await };
        let asked = || self.pieces(path, size, split(content.clone()));
        self.client.authorised(asked, method).await.map(drop)
    }

    /// Writes a file of `size` bytes in pieces, as they come from `content`.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), Box<dyn std::error::Error>> {
    /// let file = tokio::fs::File::open("disk.img").await?;
    /// let size = file.metadata().await?.len();
    /// files.write_from("/srv/disk.img", size, file).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_from(
        &self,
        path: &str,
        size: u64,
        content: impl AsyncRead + Unpin + Send + 'static,
    ) -> Result<(), Error> {
        let failed = Arc::new(Mutex::new(None));
        let asked = self.pieces(path, size, read(content, Arc::clone(&failed)));
        let upload =
            |mut wire: Wire, asked: Request<_>| async move { wire.upload_file_stream(asked).await };
        let done = self.client.call_once(asked, upload).await;
        // Why too little came is ours to know.
        match failed.lock().take() {
            Some(error) => Err(Error::Source(error)),
            None => done.map(drop),
        }
    }

    fn pieces(
        &self,
        path: &str,
        total_size: u64,
        content: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Pin<Box<dyn Stream<Item = api::UploadFileChunk> + Send>> {
        let first = api::UploadFileChunk {
            vm_id: self.of.clone(),
            path: path.to_owned(),
            total_size,
            data: Bytes::new(),
        };
        let rest =
            content.map(|data| api::UploadFileChunk { data, ..api::UploadFileChunk::default() });
        Box::pin(stream::iter([first]).chain(rest))
    }

    /// What is in a folder.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// for entry in files.list("/etc").await? {
    ///     println!("{} {}", entry.permissions, entry.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self, path: &str) -> Result<Vec<Entry>, Error> {
        let asked = api::ListDirRequest { vm_id: self.of.clone(), path: path.to_owned() };
        let listed = ask!(self.client, Looks, list_dir, asked)?;
        if listed.truncated {
            return Err(Error::server(format!("`{path}` has too many entries to be listed")));
        }
        let entry = |entry: api::DirEntry| Entry {
            name: entry.name,
            is_dir: entry.is_dir,
            size: entry.size_bytes,
            permissions: entry.permissions,
            modified: entry.modified_at,
        };
        Ok(listed.entries.into_iter().map(entry).collect())
    }

    /// Makes a folder.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// files.mkdir("/srv/www").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn mkdir(&self, path: &str) -> Result<(), Error> {
        let asked = api::MkdirRequest { vm_id: self.of.clone(), path: path.to_owned() };
        ask!(self.client, Changes, mkdir, asked).map(drop)
    }

    /// Removes a file, or a folder with all that is in it.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// files.remove("/srv/www").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, path: &str) -> Result<(), Error> {
        let asked = api::DeletePathRequest { vm_id: self.of.clone(), path: path.to_owned() };
        ask!(self.client, Changes, delete_path, asked).map(drop)
    }

    /// Gives a file or folder another path.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// files.rename("/srv/new", "/srv/www").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let (old_path, new_path) = (from.to_owned(), to.to_owned());
        let asked = api::RenamePathRequest { vm_id: self.of.clone(), old_path, new_path };
        ask!(self.client, Changes, rename_path, asked).map(drop)
    }

    /// Copies a file, or a folder with all that is in it, within the box.
    ///
    /// ```no_run
    /// # async fn example(files: boxherd_client::Files) -> Result<(), boxherd_client::Error> {
    /// files.copy("/srv/www", "/srv/backup").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        let (old_path, new_path) = (from.to_owned(), to.to_owned());
        let asked = api::CopyPathRequest { vm_id: self.of.clone(), old_path, new_path };
        ask!(self.client, Changes, copy_path, asked).map(drop)
    }
}

impl Reader {
    /// The next piece; `None` at the end. A file that ends before its size is an error.
    ///
    /// ```no_run
    /// # async fn example(mut reader: boxherd_client::Reader) -> Result<(), boxherd_client::Error> {
    /// while let Some(piece) = reader.next().await? {
    ///     println!("{} bytes", piece.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(chunk) = self.pieces.message().await? {
            self.size = self.size.or(Some(chunk.total_size)).filter(|size| *size != 0);
            self.read += chunk.data.len() as u64;
            if !chunk.data.is_empty() {
                return Ok(Some(chunk.data));
            }
        }
        match self.size {
            Some(size) if self.read < size => {
                Err(Error::lost(format!("only {} of {size} bytes came", self.read)))
            }
            _ => Ok(None),
        }
    }
}

fn split(content: Bytes) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::iter(
        (0..content.len())
            .step_by(PIECE)
            .map(move |from| content.slice(from..content.len().min(from + PIECE))),
    )
}

pub(crate) fn read(
    content: impl AsyncRead + Unpin + Send + 'static,
    failed: Arc<Mutex<Option<String>>>,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold((content, failed), |(mut content, failed)| async {
        let mut buffer = BytesMut::with_capacity(PIECE);
        match content.read_buf(&mut buffer).await {
            Ok(0) => None,
            Ok(_) => Some((buffer.freeze(), (content, failed))),
            Err(error) => {
                *failed.lock() = Some(error.to_string());
                None
            }
        }
    })
}
