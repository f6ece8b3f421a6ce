//! Fetching one large blob into a file, going on where an earlier attempt ended.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use oci_client::errors::OciDistributionError;
use sha2::{Digest as _, Sha256};

use boxherd_model::{Progress, ProgressEvent};

use super::Registry;
use super::retry::{ATTEMPTS, passes, pause};
use crate::ImageError;
use crate::digest::finish;
use crate::job;
use crate::oci::Descriptor;

/// Where the bytes begin, and the bytes.
pub(super) type From = (u64, BoxStream<'static, io::Result<Bytes>>);

/// A blob that grows in a file. Writing goes to the page cache in pieces of a few KiB, so it is not
/// handed to another thread.
struct Partial<'a> {
    file: &'a File,
    hasher: Sha256,
    have: u64,
}

/// How one request ended.
enum Answer {
    /// As the registry meant it to.
    Ended,
    /// After it had begun.
    Broken(OciDistributionError),
    /// Before it had begun.
    Refused(OciDistributionError),
}

impl Registry {
    /// Fetches `blob` into `file`, which may hold the beginning of it. The caller holds the file's
    /// lock. When this returns, the file is the blob, checked by size and digest.
    pub(crate) async fn blob(
        &self,
        blob: &Descriptor,
        file: &File,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        let item = blob.digest.short();
        progress.event(ProgressEvent::Begin { item, total: Some(blob.size) });
        let mut partial = self.take_up(blob, file, progress).await?;
        let mut resumed = partial.have > 0;
        loop {
            self.fill(blob, &mut partial, progress).await?;
            let found = finish(partial.hasher.clone());
            if partial.have == blob.size && found == blob.digest {
                return Ok(());
            }
            partial.restart().map_err(|error| self.file_error(blob, error))?;
            // What was there may have been damaged by whoever wrote it: one more try without it.
            if !std::mem::take(&mut resumed) {
                return Err(self.corrupt("layer", &blob.digest, &found));
            }
        }
    }

    /// Reads again what is there: its hash is needed for the whole.
    async fn take_up<'a>(
        &self,
        blob: &Descriptor,
        file: &'a File,
        progress: &dyn Progress,
    ) -> Result<Partial<'a>, ImageError> {
        let copy = file.try_clone().map_err(|error| self.file_error(blob, error))?;
        let size = blob.size;
        let (name, item) = (blob.digest.file_name(), blob.digest.short());
        let (hasher, have) = job::run(progress, item, move |job| {
            let read = job::Counted { inner: &copy, job };
            hash_beginning(read, &copy, size).map_err(|error| ImageError::io("read", name, error))
        })
        .await?;
        Ok(Partial { file, hasher, have })
    }

    /// Fetches until all is there or the registry has no more, with pauses while it does not answer.
    async fn fill(
        &self,
        blob: &Descriptor,
        partial: &mut Partial<'_>,
        progress: &dyn Progress,
    ) -> Result<(), ImageError> {
        let mut attempt = 1;
        while partial.have < blob.size {
            let before = partial.have;
            let answer = self.fetch_some(blob, partial, progress).await?;
            let moved = partial.have > before;
            match answer {
                Answer::Ended if !moved => return Ok(()),
                Answer::Refused(OciDistributionError::ServerError { code: 416, .. }) => {
                    return Ok(());
                }
                Answer::Broken(error) | Answer::Refused(error) if !passes(&error) => {
                    return Err(self.error("fetch a layer", error));
                }
                // As long as something comes, a bad line is slow and not broken.
                _ if moved => attempt = 1,
                Answer::Refused(error) if attempt == ATTEMPTS => {
                    return Err(self.error("fetch a layer", error));
                }
                // It answers every time and has no more: its copy is cut off.
                Answer::Broken(_) if attempt == ATTEMPTS => return Ok(()),
                _ => attempt += 1,
            }
            if partial.have < blob.size {
                pause(attempt).await;
            }
        }
        Ok(())
    }

    /// Asks once. The error is of the file.
    async fn fetch_some(
        &self,
        blob: &Descriptor,
        partial: &mut Partial<'_>,
        progress: &dyn Progress,
    ) -> Result<Answer, ImageError> {
        let failed = |error| self.file_error(blob, error);
        let (from, mut stream) = match self.blob_from(blob, partial.have).await {
            Ok(answer) => answer,
            // Also what comes of an error page that is cut off.
            Err(OciDistributionError::RequestError(error)) if error.is_decode() => {
                return Ok(Answer::Broken(error.into()));
            }
            Err(error) => return Ok(Answer::Refused(error)),
        };
        if from == 0 {
            partial.restart().map_err(failed)?;
        }
        let item = blob.digest.short();
        loop {
            match stream.try_next().await {
                Ok(Some(bytes)) => partial.append(&bytes, blob.size).map_err(failed)?,
                Ok(None) => return Ok(Answer::Ended),
                Err(error) => return Ok(Answer::Broken(error.into())),
            }
            progress.event(ProgressEvent::At { item, done: partial.have });
            if partial.have > blob.size {
                return Ok(Answer::Ended);
            }
        }
    }

    fn file_error(&self, blob: &Descriptor, error: io::Error) -> ImageError {
        ImageError::io("write", blob.digest.file_name(), error)
    }
}

impl Partial<'_> {
    /// Keeps at most one byte more than `size`: enough to know that it is wrong.
    fn append(&mut self, bytes: &[u8], size: u64) -> io::Result<()> {
        let room = usize::try_from(size + 1 - self.have).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hasher = Sha256::new();
        self.have = 0;
        Ok(())
    }
}

/// Hashes a file that is no longer than `size`; a longer one is emptied.
fn hash_beginning(
    mut read: job::Counted<'_, &File>,
    mut file: &File,
    size: u64,
) -> io::Result<(Sha256, u64)> {
    if file.metadata()?.len() > size {
        file.set_len(0)?;
    }
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Sha256::new();
    let mut have = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match read.read(&mut buffer)? {
            0 => return Ok((hasher, have)),
            count => {
                hasher.update(&buffer[..count]);
                have += count as u64;
            }
        }
    }
}
