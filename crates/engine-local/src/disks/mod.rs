//! Disks: a filesystem each, in a file of the data folder, mounted in boxes while they run.
//!
//! `image.rs` makes and mounts one, `claim.rs` says who has it, `attach.rs` brings both together.
//! What enters a box is the helper, in `helper/volumes.rs`. `docs/design/0012-disks.md` says why.

mod attach;
mod claim;
mod image;

pub(crate) use self::image::{available, mapped};
