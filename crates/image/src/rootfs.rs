//! What a box mounts.

use std::path::PathBuf;

use crate::{ImageConfig, Lease};

/// The root filesystem of one image, ready to be mounted.
#[derive(Debug, Clone)]
pub struct Rootfs {
    /// `sha256:…`; what a box remembers, see [`ImageStore::rootfs`](crate::ImageStore::rootfs).
    pub digest: String,
    /// Folders, topmost first, as overlayfs wants its lower layers. Never empty, no duplicates.
    ///
    /// Owners on disk are ids *inside* the box; whiteouts are character devices 0/0 and opaque
    /// folders carry `user.overlay.opaque`, so overlayfs must be mounted with `userxattr`.
    pub layers: Vec<PathBuf>,
    /// What the image says about its programs.
    pub config: ImageConfig,
    /// While it lives, no layer is freed. Keep it until the box is on record with
    /// [`digest`](Self::digest), from when on the `used` of
    /// [`ImageStore::remove`](crate::ImageStore::remove) must answer `true` for it.
    pub lease: Lease,
}
