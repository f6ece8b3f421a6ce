//! The image store: root filesystems to boot from, as unpacked layers that images share.
//!
//! Its job: fetch images from OCI registries, take them from archives and tarballs, build Debian
//! with mmdebstrap, unpack what strangers packed without letting it out, and say quickly which
//! layers a box mounts. It knows the model and the kernel, and nothing of engines, boxes or
//! mounts; `host` is no image of this store.
//!
//! Start reading at [`ImageStore`]; what lies where on disk is in `layout.rs`, the unpacking of
//! untrusted tars in `unpack/`. Decisions are in `docs/design/0005-images.md`.

mod archive;
mod build;
mod claim;
mod compression;
mod config;
mod digest;
mod error;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod import;
mod install;
mod job;
mod layout;
mod lock;
mod oci;
mod pull;
mod record;
mod registry;
mod rootfs;
mod store;
mod sweep;
mod tree;
pub mod unpack;
mod work;

pub use config::ImageConfig;
pub use digest::DigestError;
pub use error::ImageError;
pub use lock::Lease;
pub use rootfs::Rootfs;
pub use store::{Freed, ImageStore};
