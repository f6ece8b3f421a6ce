//! The images of the server, by their aliases.

use std::path::Path;

use async_trait::async_trait;
use boxherd_engine::{EngineError, Images};
use boxherd_lxd_client::{Error, ImageInfo as Theirs};
use boxherd_model::{ImageInfo, ImageRef, Progress, Timestamp};

use crate::engine::LxdEngine;
use crate::error::failed;

/// Hex digits of a fingerprint that stand for an image without an alias, as `lxc image list` shows.
const SHORT: usize = 12;

#[async_trait]
impl Images for LxdEngine {
    async fn pull(&self, image: &ImageRef, _: &dyn Progress) -> Result<ImageInfo, EngineError> {
        // One that is there is what was asked for.
        let found = self.list().await?.into_iter().find(|info| info.name == *image);
        found.ok_or_else(|| elsewhere(image, "lxc image copy REMOTE:IMAGE THIS: --alias NAME"))
    }

    async fn import(
        &self,
        name: &ImageRef,
        _: &Path,
        _: &dyn Progress,
    ) -> Result<ImageInfo, EngineError> {
        Err(elsewhere(name, "lxc image import FILE THIS: --alias NAME"))
    }

    async fn list(&self) -> Result<Vec<ImageInfo>, EngineError> {
        let images = self.known.client.images().await.map_err(failed("list the images"))?;
        let mut infos: Vec<_> = images.iter().filter_map(info).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    async fn remove(&self, image: &ImageRef) -> Result<(), EngineError> {
        let client = &self.known.client;
        let fingerprint = match client.alias(image.as_str()).await {
            Ok(alias) => alias.target,
            Err(Error::NotFound { .. }) => image.to_string(),
            Err(error) => return Err(failed("look the image up")(error)),
        };
        match client.delete_image(&fingerprint).await {
            Ok(()) => Ok(()),
            Err(Error::NotFound { .. }) => Err(EngineError::Image {
                image: image.to_string(),
                reason: "the server has no such image".to_owned(),
                hint: None,
            }),
            Err(error) => Err(failed("delete the image")(error)),
        }
    }
}

fn elsewhere(image: &ImageRef, way: &str) -> EngineError {
    EngineError::Image {
        image: image.to_string(),
        reason: "Boxherd does not bring images to servers of LXD yet".to_owned(),
        hint: Some(format!("`{way}` does")),
    }
}

/// An image as others are shown; `None` when it has no name that one could have here.
fn info(image: &Theirs) -> Option<ImageInfo> {
    let short = || image.fingerprint.chars().take(SHORT).collect();
    let name = image.aliases.first().map_or_else(short, |alias| alias.name.clone());
    let uploaded = image.uploaded_at.parse::<jiff::Timestamp>().ok();
    Some(ImageInfo {
        name: name.parse().ok()?,
        digest: format!("sha256:{}", image.fingerprint),
        size: u64::try_from(image.size).unwrap_or(0),
        created: Timestamp::from_millis(uploaded.map_or(0, |time| time.as_millisecond())),
        program: Vec::new(),
    })
}
