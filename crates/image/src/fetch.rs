//! The ways into the store.

use std::path::Path;

use boxherd_model::{ImageInfo, ImageRef, Progress};

use crate::{ImageError, ImageStore};

impl ImageStore {
    /// Fetches `image` from its registry, or builds it when it is `debian:CODENAME`, and keeps it
    /// under its name. Layers that are here already are not fetched again; a fetch that was cut
    /// off goes on where it was. Dropping the future stops the work.
    pub async fn pull(
        &self,
        image: &ImageRef,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, ImageError> {
        let _ = progress;
        Err(ImageError::BadName { image: image.clone(), verb: "pulled", reason: "being written" })
    }

    /// Keeps what lies at `path` as `name`: a root filesystem as a tar stream (plain, gzip or
    /// zstd), an OCI archive, or an OCI layout folder.
    pub async fn import(
        &self,
        name: &ImageRef,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, ImageError> {
        let _ = (path, progress);
        Err(ImageError::BadName { image: name.clone(), verb: "imported", reason: "being written" })
    }

    /// Builds Debian `codename` with mmdebstrap from the mirrors of the host's own apt and keeps
    /// it as `debian:CODENAME`.
    pub async fn build_debian(
        &self,
        codename: &str,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, ImageError> {
        let _ = (codename, progress);
        Err(ImageError::BadName { image: ImageRef::host(), verb: "built", reason: "being written" })
    }
}
