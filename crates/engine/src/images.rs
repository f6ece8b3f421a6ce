//! Root filesystems to boot from.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use boxherd_model::{ImageRef, Timestamp};
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// One image of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// What it is called here.
    pub name: ImageRef,
    /// `sha256:…` of its manifest, or of its tar stream when it has none.
    pub digest: String,
    /// Bytes of its layers as they lie on disk.
    pub size: u64,
    /// When it was pulled, imported or built.
    pub created: Timestamp,
}

/// The image store of an engine.
#[async_trait]
pub trait Images: fmt::Debug + Send + Sync {
    /// Fetches `image` from its registry, or builds it (`debian:CODENAME`), and keeps it under its
    /// reference. Layers that are there already are not fetched again; a fetch that was cut off
    /// goes on where it was.
    async fn pull(&self, image: &ImageRef, progress: &dyn Progress)
    -> Result<ImageInfo, EngineError>;

    /// Takes a root filesystem tarball or an OCI archive from `path` and keeps it as `name`.
    async fn import(
        &self,
        name: &ImageRef,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, EngineError>;

    /// Every image, by name.
    async fn list(&self) -> Result<Vec<ImageInfo>, EngineError>;

    /// Forgets an image and frees the layers that no other image and no box uses.
    async fn remove(&self, image: &ImageRef) -> Result<(), EngineError>;
}

/// Told how far a long transfer is. Called from any thread, often; must not block.
pub trait Progress: Send + Sync {
    /// Something moved on.
    fn event(&self, event: ProgressEvent<'_>);
}

impl fmt::Debug for dyn Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// One step of a long transfer. `item` is a layer's short digest or a file's name.
#[derive(Debug, Clone, Copy)]
pub enum ProgressEvent<'a> {
    /// Work on `item` begins.
    Begin {
        /// What is being worked on.
        item: &'a str,
        /// Its size in bytes, when it is known.
        total: Option<u64>,
    },
    /// `item` stands at `done` bytes.
    At {
        /// What is being worked on.
        item: &'a str,
        /// Bytes done so far.
        done: u64,
    },
    /// `item` is complete.
    End {
        /// What was worked on.
        item: &'a str,
    },
}

/// Reports to nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentProgress;

impl Progress for SilentProgress {
    fn event(&self, _event: ProgressEvent<'_>) {}
}
