//! Images: imported as a stream, copied from other servers, looked up, deleted.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::operations::Operation;
use crate::transport::{Call, Payload};

/// An image as the server describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ImageInfo {
    /// The SHA-256 of its archives.
    pub fingerprint: String,
    /// Its aliases.
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub aliases: Vec<Alias>,
    /// `container` or `virtual-machine`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its architecture.
    pub architecture: String,
    /// Bytes.
    pub size: i64,
    /// Whether everybody may read it.
    pub public: bool,
    /// When the server got it, RFC 3339.
    pub uploaded_at: String,
    /// What its maker says of it: `os`, `release`, `description`, …
    #[serde(deserialize_with = "crate::null::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// A name for an image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Alias {
    /// The name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// The fingerprint of the image; empty in [`ImageInfo::aliases`].
    pub target: String,
}

/// How an image is to be known.
#[derive(Clone, Debug, Default)]
pub struct NewImage {
    /// Whether everybody may read it.
    pub public: bool,
    /// The name of a file, kept with the image.
    pub filename: Option<String>,
}

/// The content of a file, as it comes.
type Content = stream::BoxStream<'static, io::Result<Bytes>>;

/// Longer than anything that a file could hold by chance; RFC 2046, 5.1.1.
const BOUNDARY: &str = "boxherd-4f2c1e6a9d8b47a3b5e0c7d1f6a29e83";

impl Client {
    /// Imports an image of one archive with metadata and root file system. The operation tells its
    /// fingerprint: [`imported`].
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] when the stream fails, and whatever a call may fail with.
    pub async fn import_image<S>(&self, new: &NewImage, archive: S) -> Result<Operation>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.import(new, "application/octet-stream", archive.boxed()).await
    }

    /// Imports an image of two archives: metadata, and a root file system (or the disk of a virtual
    /// machine, which `rootfs_is_disk` tells).
    ///
    /// # Errors
    ///
    /// As [`Client::import_image`].
    pub async fn import_split_image<M, R>(
        &self,
        new: &NewImage,
        metadata: M,
        rootfs: R,
        rootfs_is_disk: bool,
    ) -> Result<Operation>
    where
        M: Stream<Item = io::Result<Bytes>> + Send + 'static,
        R: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let rootfs_name = if rootfs_is_disk { "rootfs.img" } else { "rootfs" };
        let form = part("metadata", metadata)
            .chain(part(rootfs_name, rootfs))
            .chain(text(format!("--{BOUNDARY}--\r\n")));
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        self.import(new, &kind, form.boxed()).await
    }

    async fn import(&self, new: &NewImage, kind: &str, content: Content) -> Result<Operation> {
        let mut call = Call::new(Method::POST, self.url(["images"]));
        let kind = HeaderValue::from_str(kind).map_err(|error| Error::invalid("header", error))?;
        call.headers.insert(CONTENT_TYPE, kind);
        let public = if new.public { "1" } else { "0" };
        call = call.header("x-lxd-public", public)?.header("x-incus-public", public)?;
        if let Some(name) = &new.filename {
            call = call.header("x-lxd-filename", name)?.header("x-incus-filename", name)?;
        }
        let body = StreamBody::new(content.map(|piece| piece.map(Frame::data)));
        let payload = Payload::Stream(Some(body.boxed_unsync()));
        self.start_unlimited(Call { payload, ..call }).await
    }

    /// Copies an image from another server: `source` as in [`crate::Source::remote`], or with a
    /// fingerprint and, for a private image, a secret.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with; what the other server says, the operation fails with.
    pub async fn copy_image(&self, source: &crate::Source, public: bool) -> Result<Operation> {
        let body = json!({ "source": source, "public": public, "auto_update": false });
        self.start_json(Method::POST, self.url(["images"]), &body).await
    }

    /// What the server knows of an image, by its fingerprint or the unambiguous beginning of it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn image(&self, fingerprint: &str) -> Result<ImageInfo> {
        self.get(self.url(["images", fingerprint])).await
    }

    /// All images of the project.
    ///
    /// # Errors
    ///
    /// Whatever a call may fail with.
    pub async fn images(&self) -> Result<Vec<ImageInfo>> {
        self.get(self.url(["images"]).query("recursion", "1")).await
    }

    /// Deletes an image, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call and an operation may fail with.
    pub async fn delete_image(&self, fingerprint: &str) -> Result<()> {
        self.finish(Call::new(Method::DELETE, self.url(["images", fingerprint]))).await
    }

    /// A short-lived secret with which another server may copy a private image.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn image_secret(&self, fingerprint: &str) -> Result<String> {
        let url = self.url(["images", fingerprint, "secret"]);
        let operation = self.start(Call::new(Method::POST, url)).await?;
        let secret = operation.metadata()["secret"].as_str();
        secret.map(str::to_owned).ok_or_else(|| Error::protocol("image secret", "there is none"))
    }

    /// The image that an alias stands for.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn alias(&self, name: &str) -> Result<Alias> {
        self.get(self.url(["images", "aliases", name])).await
    }

    /// Gives an image a name.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] for a name that is taken, [`Error::NotFound`], and whatever a call may
    /// fail with.
    pub async fn create_alias(&self, name: &str, fingerprint: &str) -> Result<()> {
        let body = json!({ "name": name, "target": fingerprint });
        let call = Call::new(Method::POST, self.url(["images", "aliases"])).json(&body)?;
        self.sync(call).await.map(drop)
    }

    /// Takes a name away from its image.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and whatever a call may fail with.
    pub async fn delete_alias(&self, name: &str) -> Result<()> {
        let call = Call::new(Method::DELETE, self.url(["images", "aliases", name]));
        self.sync(call).await.map(drop)
    }
}

/// The fingerprint of the image that an import or a copy came to.
///
/// # Errors
///
/// [`Error::Protocol`] when the server does not tell.
pub fn imported(outcome: &Value) -> Result<String> {
    let print = outcome["fingerprint"].as_str();
    print.map(str::to_owned).ok_or_else(|| Error::protocol("image import", "no fingerprint"))
}

fn text(text: String) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::once(async { Ok(Bytes::from(text)) })
}

fn part<S>(name: &str, content: S) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    text(head).chain(content).chain(text("\r\n".to_owned()))
}
