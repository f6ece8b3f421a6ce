//! The image store, as an engine answers for it.

use std::io;

use boxherd_engine::{DISK_SPACE, EngineError};
use boxherd_image::ImageError;
use boxherd_model::ImageRef;

use crate::core::Core;
use crate::error::at;
use crate::record::{self, BoxRecord};

/// What the store says, in the engine's words.
pub(crate) fn refused(error: ImageError) -> EngineError {
    let hint = error.hint().map(|hint| hint.to_string());
    if let ImageError::NoSuchImage { image } = &error {
        let reason = "it is not in the image store".to_owned();
        return EngineError::Image { image: image.to_string(), reason, hint };
    }
    if error.is_full_disk() {
        let source = io::Error::new(io::ErrorKind::StorageFull, error.to_string());
        return EngineError::Exhausted { resource: DISK_SPACE, source };
    }
    EngineError::Refused { step: "use the image store".to_owned(), source: Box::new(error), hint }
}

impl Core {
    /// Forgets an image; its layers stay while a box is made of them.
    pub(crate) fn remove_image(&self, image: &ImageRef) -> Result<(), EngineError> {
        let used = self.images_in_use()?;
        let freed = self.images.remove(image, &|digest| used.iter().any(|used| used == digest));
        freed.map(drop).map_err(refused)
    }

    fn images_in_use(&self) -> Result<Vec<String>, EngineError> {
        let mut used = Vec::new();
        for entry in std::fs::read_dir(self.data.boxes()).map_err(at("list the boxes"))? {
            let path = entry.map_err(at("list the boxes"))?.path();
            for file in ["box.json", "draft.json"] {
                let record = record::read::<BoxRecord>(&path.join(file));
                used.extend(record.map_err(at("read `box.json`"))?.and_then(|record| record.image));
            }
        }
        Ok(used)
    }
}
