//! Commands about images.

use std::path::PathBuf;

use boxherd_model::{EngineName, ImageRef};
use clap::{Args, Subcommand};

use super::examples;

/// Fetch, take, build and forget images
#[derive(Debug, Args)]
#[command(after_help = examples::IMAGE)]
pub(crate) struct ImagesOf {
    /// Of which engine; those of the default one when not given
    #[arg(long, global = true, value_name = "ENGINE")]
    pub(crate) engine: Option<EngineName>,
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Fetch an image from its registry, or for a server from the remote in `REMOTE:ALIAS`
    Pull(ImageArgs),
    /// Take a root filesystem tarball or an OCI archive, or for a server an image of LXD
    Import(ImportArgs),
    /// Build `debian:CODENAME` with mmdebstrap
    Build(ImageArgs),
    /// List images
    Ls,
    /// Forget images and free what nothing else uses
    Rm(ImagesArgs),
}

/// One image.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Such as `registry.example/debian:12` or `debian:bookworm`
    pub(crate) image: ImageRef,
}

/// Some images.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<ImageRef>,
}

/// An image and the file it comes from.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What to call it
    pub(crate) name: ImageRef,
    /// The file; of an image in two, its metadata
    pub(crate) file: PathBuf,
    /// The root filesystem, or the disk of a virtual machine, where that is a file of its own
    pub(crate) rootfs: Option<PathBuf>,
}
