//! The images of the server: listed, fetched from other servers, taken from files, removed.

use std::path::Path;

use async_trait::async_trait;
use boxherd_engine::{EngineError, Images};
use boxherd_lxd_client::{Error, ImageInfo as Theirs, NewImage, imported};
use boxherd_model::{ImageInfo, ImageRef, Progress, ProgressEvent, Timestamp};

use crate::archive::{self, Archive};
use crate::engine::LxdEngine;
use crate::error::{failed, with_causes};
use crate::origin::{Origin, refused};
use crate::upload::Upload;

/// Hex digits of a fingerprint that stand for an image without an alias, as `lxc image list` shows.
const SHORT: usize = 12;

#[async_trait]
impl Images for LxdEngine {
    async fn pull(
        &self,
        image: &ImageRef,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError> {
        // One that is there is what was asked for.
        if let Some(found) = self.named(image).await? {
            return Ok(found);
        }
        match self.known.origin(image).await? {
            Origin::Here(_) => Err(refused(
                image,
                "the server has no such image, and no remote is named that has it".to_owned(),
                Some("`boxherd image pull REMOTE:ALIAS` fetches one".to_owned()),
            )),
            Origin::Elsewhere(source, size) => {
                let fetched = async {
                    let operation = self.known.client.copy_image(&source, false).await?;
                    let _shown = Shown::begin(progress, image.as_str(), size);
                    let told = |at: &serde_json::Value| tell(progress, image.as_str(), size, at);
                    imported(&operation.wait_telling(told).await?)
                };
                let fetched = fetched.await.map_err(|error| said(image, "fetch", error))?;
                self.call(image, &fetched).await
            }
        }
    }

    async fn import(
        &self,
        name: &ImageRef,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError> {
        self.check_free(name).await?;
        match look(name, path).await? {
            Archive::Whole | Archive::Unknown => {
                let upload = Upload::open(path).await.map_err(unread(name, path))?;
                let sent = upload.sent();
                let new = NewImage::default();
                let importing = self.known.client.import_image(&new, upload.stream());
                self.take(name, sent, importing, progress).await
            }
            Archive::Rootfs => {
                let metadata = self.metadata(name, path).await?;
                self.import_two(name, metadata, path, false, progress).await
            }
            kind => Err(refused(name, format!("`{}` {}", path.display(), why_not(kind)), None)),
        }
    }

    async fn import_split(
        &self,
        name: &ImageRef,
        metadata: &Path,
        rootfs: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError> {
        self.check_free(name).await?;
        let wrong = |file: &Path, what: &str| {
            Err(refused(name, format!("`{}` is no {what} of an image", file.display()), None))
        };
        if !matches!(look(name, metadata).await?, Archive::Metadata | Archive::Unknown) {
            return wrong(metadata, "metadata");
        }
        let kind = look(name, rootfs).await?;
        if !matches!(kind, Archive::Rootfs | Archive::Disk | Archive::Unknown) {
            return wrong(rootfs, "root file system");
        }
        let metadata = Upload::open(metadata).await.map_err(unread(name, metadata))?;
        self.import_two(name, metadata, rootfs, kind == Archive::Disk, progress).await
    }

    async fn list(&self) -> Result<Vec<ImageInfo>, EngineError> {
        let images = match self.known.client.images().await {
            Ok(images) => images,
            Err(error) => return Err(self.known.failed("list the images", error).await),
        };
        let mut infos: Vec<_> = images.iter().flat_map(infos).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    async fn remove(&self, image: &ImageRef) -> Result<(), EngineError> {
        let client = &self.known.client;
        let removed = async {
            let fingerprint = match client.alias(image.as_str()).await {
                Ok(alias) => alias.target,
                Err(Error::NotFound { .. }) => return client.delete_image(image.as_str()).await,
                Err(error) => return Err(error),
            };
            // Others may know it by another name.
            match client.image(&fingerprint).await?.aliases.len() {
                0 | 1 => client.delete_image(&fingerprint).await,
                _ => client.delete_alias(image.as_str()).await,
            }
        };
        removed.await.map_err(|error| match error {
            Error::NotFound { .. } => {
                refused(image, "the server has no such image".to_owned(), None)
            }
            error => failed("delete the image")(error),
        })
    }
}

impl LxdEngine {
    async fn named(&self, image: &ImageRef) -> Result<Option<ImageInfo>, EngineError> {
        Ok(Images::list(self).await?.into_iter().find(|info| info.name == *image))
    }

    /// An image of that name would be another's.
    async fn check_free(&self, name: &ImageRef) -> Result<(), EngineError> {
        match self.named(name).await? {
            None => Ok(()),
            Some(_) => Err(refused(
                name,
                "the server has an image of that name".to_owned(),
                Some("`boxherd image rm` removes it; or call this one otherwise".to_owned()),
            )),
        }
    }

    async fn metadata(&self, name: &ImageRef, rootfs: &Path) -> Result<Upload, EngineError> {
        let server = self.known.server().await?;
        let architecture = server.environment.architectures.first().cloned();
        let architecture = architecture.ok_or_else(|| {
            EngineError::refused("describe the image", "the server does not say what it is")
        })?;
        let made = archive::metadata(name.as_str(), &architecture, rootfs);
        Ok(Upload::of(made.map_err(unread(name, rootfs))?))
    }

    async fn import_two(
        &self,
        name: &ImageRef,
        metadata: Upload,
        rootfs: &Path,
        is_disk: bool,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError> {
        let rootfs = Upload::open(rootfs).await.map_err(unread(name, rootfs))?;
        // The fingerprint is that of both, one after the other.
        let rootfs = rootfs.after(&metadata);
        let sent = rootfs.sent();
        let (new, client) = (NewImage::default(), &self.known.client);
        let importing =
            client.import_split_image(&new, metadata.stream(), rootfs.stream(), is_disk);
        self.take(name, sent, importing, progress).await
    }

    /// Sends an image, and gives it its name. One that the server has already only gets the name.
    async fn take(
        &self,
        name: &ImageRef,
        sent: crate::upload::Sent,
        importing: impl Future<Output = Result<boxherd_lxd_client::Operation, Error>> + Send,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError> {
        let shown = Shown::begin(progress, name.as_str(), Some(sent.total()));
        let told = sent.telling(|done| shown.at(done), importing);
        let taken = async { imported(&told.await?.wait().await?) };
        let fingerprint = match taken.await {
            Ok(fingerprint) => fingerprint,
            Err(Error::OperationFailed { message, .. } | Error::Conflict { message })
                if message.contains("same fingerprint") =>
            {
                sent.fingerprint()
            }
            Err(error) => return Err(said(name, "take", error)),
        };
        self.call(name, &fingerprint).await
    }

    /// Gives an image its name, and answers what it is.
    async fn call(&self, name: &ImageRef, fingerprint: &str) -> Result<ImageInfo, EngineError> {
        let client = &self.known.client;
        match client.create_alias(name.as_str(), fingerprint).await {
            // Somebody else fetched it at the same time.
            Ok(()) | Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(failed("name the image")(error)),
        }
        self.named(name)
            .await?
            .ok_or_else(|| refused(name, "it was removed as soon as it was there".to_owned(), None))
    }
}

async fn look(name: &ImageRef, path: &Path) -> Result<Archive, EngineError> {
    let file = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || archive::look(&file)).await;
    let looked = looked.map_err(|error| EngineError::refused("look at the file", error))?;
    looked.map_err(unread(name, path))
}

fn unread(name: &ImageRef, path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    move |error| refused(name, format!("`{}`: {error}", path.display()), None)
}

fn why_not(kind: Archive) -> &'static str {
    match kind {
        Archive::Metadata => {
            "has the metadata of an image and no root file system: name that file after it"
        }
        Archive::Disk => "is the disk of a virtual machine: name its metadata before it",
        Archive::Oci => "is an OCI archive, of which servers of LXD make no instances",
        _ => "has neither a root file system nor metadata in it",
    }
}

/// What the server said of it.
fn said(image: &ImageRef, what: &str, error: Error) -> EngineError {
    let reason = match error {
        Error::BadRequest { message }
        | Error::OperationFailed { message, .. }
        | Error::Server { message, .. } => message,
        error @ (Error::Connect { .. } | Error::NoEndpoint { .. } | Error::Unavailable { .. }) => {
            return failed(format!("{what} the image"))(error);
        }
        error => with_causes(&error),
    };
    refused(image, format!("the server cannot {what} it: {reason}"), None)
}

/// A transfer that is shown until this is dropped.
struct Shown<'p> {
    progress: &'p dyn Progress,
    item: &'p str,
}

impl<'p> Shown<'p> {
    fn begin(progress: &'p dyn Progress, item: &'p str, total: Option<u64>) -> Self {
        progress.event(ProgressEvent::Begin { item, total });
        Self { progress, item }
    }

    fn at(&self, done: u64) {
        self.progress.event(ProgressEvent::At { item: self.item, done });
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.progress.event(ProgressEvent::End { item: self.item });
    }
}

/// Tells what the server says of a download.
fn tell(progress: &dyn Progress, item: &str, size: Option<u64>, metadata: &serde_json::Value) {
    let said = metadata["download_progress"].as_str();
    if let Some((size, percent)) = size.zip(said.and_then(percent)) {
        progress.event(ProgressEvent::At { item, done: size / 100 * percent });
    }
}

/// How far a download is, of `rootfs: 45% (12.30MB/s)`.
fn percent(text: &str) -> Option<u64> {
    let (before, _) = text.split_once('%')?;
    before.rsplit(' ').next()?.parse().ok().filter(|percent| *percent <= 100)
}

/// An image as others are shown, once for each of its names; without any, by its fingerprint. Names that
/// none could have here are left out.
fn infos(image: &Theirs) -> Vec<ImageInfo> {
    let short = || image.fingerprint.chars().take(SHORT).collect::<String>();
    let mut names: Vec<_> = image.aliases.iter().map(|alias| alias.name.clone()).collect();
    if names.is_empty() {
        names.push(short());
    }
    let uploaded = image.uploaded_at.parse::<jiff::Timestamp>().ok();
    let named = |name: String| {
        Some(ImageInfo {
            name: name.parse().ok()?,
            digest: format!("sha256:{}", image.fingerprint),
            size: u64::try_from(image.size).unwrap_or(0),
            created: Timestamp::from_millis(uploaded.map_or(0, |time| time.as_millisecond())),
            program: Vec::new(),
        })
    };
    names.into_iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use boxherd_lxd_client::Alias;

    use super::*;

    #[test]
    fn what_the_server_says_of_a_download_is_read() {
        assert_eq!(percent("rootfs: 45% (12.30MB/s)"), Some(45));
        assert_eq!(percent("metadata: 100% (1.00GB/s)"), Some(100));
        for text in ["", "rootfs: 12MB (1MB/s)", "rootfs: 450%", "% x"] {
            assert_eq!(percent(text), None, "{text}");
        }
    }

    #[test]
    fn an_image_is_listed_by_each_of_its_names() {
        let alias = |name: &str| Alias { name: name.to_owned(), ..Alias::default() };
        let names = |aliases| {
            let fingerprint = "0123456789abcdef".to_owned();
            let image = Theirs { fingerprint, aliases, ..Theirs::default() };
            infos(&image).iter().map(|info| info.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(vec![alias("a"), alias("b")]), ["a", "b"]);
        assert_eq!(names(vec![]), ["0123456789ab"]);
        assert!(names(vec![alias("a b")]).is_empty());
    }
}
