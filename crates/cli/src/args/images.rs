//! Commands about images.

use std::path::PathBuf;

use boxherd_model::ImageRef;
use clap::{Args, Subcommand};

/// Fetch, take, build and forget images
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Fetch an image from its registry
    Pull(ImageArgs),
    /// Take a root filesystem tarball or an OCI archive
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
    /// The file
    pub(crate) file: PathBuf,
}
