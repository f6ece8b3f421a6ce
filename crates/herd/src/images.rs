//! Images of the default engine, which all users share: everybody sees them, and whoever changes them
//! changes what others' boxes are made of.

use std::path::Path;

use boxherd_engine::{EngineError, Images};
use boxherd_model::{Capability, ImageInfo, ImageRef, Progress};

use crate::{Herd, HerdError};

impl Herd {
    /// Every image, by name.
    pub async fn images(&self) -> Result<Vec<ImageInfo>, HerdError> {
        let failed = |source| failed("look at", "the images", source);
        self.image_store()?.list().await.map_err(failed)
    }

    /// Fetches or builds an image. The host and administrators only.
    pub async fn pull_image(
        &self,
        image: &ImageRef,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, HerdError> {
        self.is_admin().await?;
        let failed = |source| failed("pull", image.as_str(), source);
        self.image_store()?.pull(image, progress).await.map_err(failed)
    }

    /// Takes an image from a file. The host and administrators only.
    pub async fn import_image(
        &self,
        name: &ImageRef,
        file: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, HerdError> {
        self.is_admin().await?;
        let failed = |source| failed("import", name.as_str(), source);
        self.image_store()?.import(name, file, progress).await.map_err(failed)
    }

    /// Forgets an image. The host and administrators only.
    pub async fn remove_image(&self, image: &ImageRef) -> Result<(), HerdError> {
        self.is_admin().await?;
        let failed = |source| failed("remove", image.as_str(), source);
        self.image_store()?.remove(image).await.map_err(failed)
    }

    fn image_store(&self) -> Result<&dyn Images, HerdError> {
        let engine = self.engine(None)?;
        engine.images().ok_or_else(|| {
            let source = engine.unsupported("image", Capability::Images);
            failed("use", "images", source)
        })
    }
}

fn failed(op: &'static str, name: &str, source: EngineError) -> HerdError {
    HerdError::Engine { op, name: name.to_owned(), source }
}
