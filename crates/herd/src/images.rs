//! Images of an engine, which all users share: everybody sees those of the default one, and whoever
//! changes them changes what others' boxes are made of.

use std::path::Path;

use boxherd_engine::{EngineError, Images};
use boxherd_model::{Capability, EngineName, ImageInfo, ImageRef, Progress};

use crate::{Herd, HerdError};

/// An image that lies in files.
#[derive(Debug, Clone, Copy)]
pub enum ImageFiles<'files> {
    /// All of it in one.
    One(&'files Path),
    /// What describes it, and its root file system.
    Split {
        /// What describes it.
        metadata: &'files Path,
        /// Its root file system.
        rootfs: &'files Path,
    },
}

impl Herd {
    /// Every image, by name; of an engine that is named, the host and administrators only.
    pub async fn images(&self, on: Option<&EngineName>) -> Result<Vec<ImageInfo>, HerdError> {
        if on.is_some() {
            self.is_admin().await?;
        }
        let failed = |source| failed("look at", "the images", source);
        self.image_store(on)?.list().await.map_err(failed)
    }

    /// Fetches or builds an image. The host and administrators only.
    pub async fn pull_image(
        &self,
        on: Option<&EngineName>,
        image: &ImageRef,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, HerdError> {
        self.is_admin().await?;
        let failed = |source| failed("pull", image.as_str(), source);
        self.image_store(on)?.pull(image, progress).await.map_err(failed)
    }

    /// Takes an image from files. The host and administrators only.
    pub async fn import_image(
        &self,
        on: Option<&EngineName>,
        name: &ImageRef,
        files: ImageFiles<'_>,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, HerdError> {
        self.is_admin().await?;
        let images = self.image_store(on)?;
        let imported = match files {
            ImageFiles::One(file) => images.import(name, file, progress).await,
            ImageFiles::Split { metadata, rootfs } => {
                images.import_split(name, metadata, rootfs, progress).await
            }
        };
        imported.map_err(|source| failed("import", name.as_str(), source))
    }

    /// Forgets an image. The host and administrators only.
    pub async fn remove_image(
        &self,
        on: Option<&EngineName>,
        image: &ImageRef,
    ) -> Result<(), HerdError> {
        self.is_admin().await?;
        let failed = |source| failed("remove", image.as_str(), source);
        self.image_store(on)?.remove(image).await.map_err(failed)
    }

    fn image_store(&self, on: Option<&EngineName>) -> Result<&dyn Images, HerdError> {
        let engine = self.engine(on)?;
        engine.images().ok_or_else(|| {
            let source = engine.unsupported("image", Capability::Images);
            failed("use", "images", source)
        })
    }
}

fn failed(op: &'static str, name: &str, source: EngineError) -> HerdError {
    HerdError::Engine { op, name: name.to_owned(), source }
}
