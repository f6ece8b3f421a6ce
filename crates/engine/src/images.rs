//! Root filesystems to boot from.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use boxherd_model::{ImageInfo, ImageRef, Progress};

use crate::EngineError;

/// The image store of an engine.
#[async_trait]
pub trait Images: fmt::Debug + Send + Sync {
    /// Fetches `image` from its registry, or builds it (`debian:CODENAME`), and keeps it under its
    /// reference. Layers that are there already are not fetched again; a fetch that was cut off
    /// goes on where it was.
    async fn pull(
        &self,
        image: &ImageRef,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError>;

    /// Takes a root filesystem tarball or an OCI archive from `path` and keeps it as `name`.
    async fn import(
        &self,
        name: &ImageRef,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError>;

    /// Takes an image whose description and whose root filesystem are files of their own, and keeps it
    /// as `name`.
    async fn import_split(
        &self,
        name: &ImageRef,
        metadata: &Path,
        rootfs: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError> {
        let _ = (metadata, rootfs, progress);
        Err(EngineError::Image {
            image: name.to_string(),
            reason: "images of this engine are one file".to_owned(),
            hint: Some("name the root filesystem alone".to_owned()),
        })
    }

    /// Every image, by name.
    async fn list(&self) -> Result<Vec<ImageInfo>, EngineError>;

    /// Forgets an image and frees the layers that no other image and no box uses.
    async fn remove(&self, image: &ImageRef) -> Result<(), EngineError>;
}
