//! What boxes are made of.

use std::path::Path;
use std::sync::Arc;

use boxherd_boxd_api as api;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tonic::{Request, Streaming};

use crate::Error;
use crate::client::{Client, Wire, ask};
use crate::files::read;

/// The images of a server, which all its users share. To change them is for administrators; Boxherd
/// alone offers it.
///
/// ```no_run
/// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
/// let images = client.images();
/// let made = images.pull("debian:bookworm", |_| {}).await?;
/// println!("{} {}", made.name, made.digest);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Images {
    client: Client,
    engine: String,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// What it is called.
    pub name: String,
    /// `sha256:…` of its manifest, or of its tar stream when it has none.
    pub digest: String,
    /// Bytes of its layers as they lie on the server's disk.
    pub size: u64,
    /// When it was pulled, imported or built, in milliseconds since 1970.
    pub created_ms: i64,
    /// What it says is to be run when no command is given, as one argv; empty when it says nothing.
    pub program: Vec<String>,
}

/// How far a part of a pull or an import is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageStep {
    /// The part, such as a layer by the beginning of its digest.
    pub item: String,
    /// How many bytes it has; said once, where it is known.
    pub total: Option<u64>,
    /// How many bytes of it are done.
    pub done: u64,
    /// Whether it is complete.
    pub ended: bool,
}

impl Images {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, engine: String::new() }
    }

    /// Those of an engine of the server's that is not its default one; for administrators.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let images = client.images().on("lab").list().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on(&self, engine: &str) -> Self {
        Self { client: self.client.clone(), engine: engine.to_owned() }
    }

    /// Every image, by name.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// for image in client.images().list().await? {
    ///     println!("{} {}", image.name, image.size);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Vec<Image>, Error> {
        let asked = api::BoxherdListImagesRequest { engine: self.engine.clone() };
        let listed = ask!(self.client, Looks, boxherd_list_images, asked)?;
        Ok(listed.images.into_iter().map(shown).collect())
    }

    /// Has the server fetch an image from its registry, or build `debian:CODENAME`. `told` hears how far
    /// it is. What was fetched when this is dropped need not be fetched again.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let told = |step: boxherd_client::ImageStep| println!("{}: {}", step.item, step.done);
    /// client.images().pull("registry.example/team/app:1", told).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pull(
        &self,
        image: &str,
        told: impl FnMut(ImageStep) + Send,
    ) -> Result<Image, Error> {
        let asked =
            api::BoxherdPullImageRequest { image: image.to_owned(), engine: self.engine.clone() };
        let steps = ask!(self.client, Looks, boxherd_pull_image, asked)?;
        followed(steps, told).await
    }

    /// Sends the server a root filesystem tarball or an OCI archive, which it keeps as `name`.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.images().import("mine", "rootfs.tar.zst", |_| {}).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn import(
        &self,
        name: &str,
        file: impl AsRef<Path>,
        told: impl FnMut(ImageStep) + Send,
    ) -> Result<Image, Error> {
        let (file, total_size) = open(file.as_ref()).await?;
        self.send(name, total_size, None, file, told).await
    }

    /// Sends an image that lies in two files, as LXD and Incus have them: what describes it, and its root
    /// file system.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// let images = client.images().on("lab");
    /// images.import_split("mine", "meta.tar.xz", "rootfs.squashfs", |_| {}).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn import_split(
        &self,
        name: &str,
        metadata: impl AsRef<Path>,
        rootfs: impl AsRef<Path>,
        told: impl FnMut(ImageStep) + Send,
    ) -> Result<Image, Error> {
        let (metadata, first) = open(metadata.as_ref()).await?;
        let (rootfs, second) = open(rootfs.as_ref()).await?;
        let both = metadata.take(first).chain(rootfs);
        self.send(name, first + second, Some(second), both, told).await
    }

    async fn send(
        &self,
        name: &str,
        total_size: u64,
        rootfs_size: Option<u64>,
        content: impl AsyncRead + Unpin + Send + 'static,
        told: impl FnMut(ImageStep) + Send,
    ) -> Result<Image, Error> {
        let first = api::BoxherdImportImageChunk {
            image: name.to_owned(),
            total_size,
            data: Bytes::new(),
            engine: self.engine.clone(),
            rootfs_size,
        };
        let failed = Arc::new(Mutex::new(None));
        let rest = read(content, Arc::clone(&failed)).map(|data| api::BoxherdImportImageChunk {
            data,
            ..api::BoxherdImportImageChunk::default()
        });
        let method = |mut wire: Wire, asked: Request<_>| async move {
            wire.boxherd_import_image(asked).await
        };
        let begun = self.client.call_once(stream::iter([first]).chain(rest), method).await;
        // Why too little came is ours to know.
        if let Some(error) = failed.lock().take() {
            return Err(Error::Source(error));
        }
        followed(begun?, told).await
    }

    /// Has the server forget an image and free what nothing else uses.
    ///
    /// ```no_run
    /// # async fn example(client: boxherd_client::Client) -> Result<(), boxherd_client::Error> {
    /// client.images().remove("mine").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, image: &str) -> Result<(), Error> {
        let asked =
            api::BoxherdRemoveImageRequest { image: image.to_owned(), engine: self.engine.clone() };
        ask!(self.client, Changes, boxherd_remove_image, asked).map(drop)
    }
}

/// A file that is sent, and how many bytes it has.
async fn open(path: &Path) -> Result<(File, u64), Error> {
    let unread = |error: std::io::Error| Error::Source(format!("{}: {error}", path.display()));
    let file = File::open(path).await.map_err(unread)?;
    let size = file.metadata().await.map_err(unread)?.len();
    Ok((file, size))
}

/// Tells of every step, and answers what the last one has.
async fn followed(
    mut steps: Streaming<api::BoxherdImageStep>,
    mut told: impl FnMut(ImageStep) + Send,
) -> Result<Image, Error> {
    while let Some(step) = steps.message().await? {
        let api::BoxherdImageStep { item, total, done, ended, image } = step;
        match image {
            Some(image) => return Ok(shown(image)),
            None => told(ImageStep { item, total, done, ended }),
        }
    }
    Err(Error::server("the stream ended without an image"))
}

fn shown(image: api::BoxherdImage) -> Image {
    let api::BoxherdImage { name, digest, size_bytes, created_ms, program } = image;
    Image { name, digest, size: size_bytes, created_ms, program }
}
