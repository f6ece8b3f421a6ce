//! Templates: an image and what boxes are to be like, frozen under a name.

use boxherd_model::{BoxName, BoxSpec, ImageRef, ThingId};
use boxherd_store::{ThingKind, ThingRecord};
use serde::{Deserialize, Serialize};

use crate::belongings::read;
use crate::{Herd, HerdError};

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// For ever.
    pub id: ThingId,
    /// Unique among the templates of a user.
    pub name: String,
    /// The image that was asked for.
    pub image: ImageRef,
    /// What boxes are like that are made of it. Its image is the one the reference stood for then.
    pub spec: BoxSpec,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    image: ImageRef,
    spec: BoxSpec,
}

impl Herd {
    /// Freezes a spec under the name in it, on the default engine. The image has to be there: it is
    /// what its reference stands for now that boxes are made of, whatever is called so later.
    pub async fn make_template(&self, mut spec: BoxSpec) -> Result<Template, HerdError> {
        let image = spec.image.clone();
        spec.image = self.frozen(&image).await?;
        let name = spec.name.to_string();
        let body = Body { image, spec };
        let thing = self.acquire(ThingKind::Template, None, &name, &body).await?;
        template(&thing)
    }

    /// The caller's templates, oldest first.
    pub async fn templates(&self) -> Result<Vec<Template>, HerdError> {
        self.belongings(ThingKind::Template).await?.iter().map(template).collect()
    }

    /// The caller's template of that id or name.
    pub async fn template(&self, text: &str) -> Result<Template, HerdError> {
        template(&self.belonging(ThingKind::Template, text).await?)
    }

    /// Removes a template. Boxes that were made of it stay.
    pub async fn remove_template(&self, text: &str) -> Result<(), HerdError> {
        self.give_up(&self.belonging(ThingKind::Template, text).await?).await
    }

    /// `NAME@DIGEST` of what an image stands for now. The host's own files are what they are.
    async fn frozen(&self, image: &ImageRef) -> Result<ImageRef, HerdError> {
        let none = || HerdError::NoSuch { what: "image", name: image.to_string() };
        if *image == ImageRef::host() {
            return Ok(image.clone());
        }
        let engine = self.engine(None)?;
        let failed = |source| HerdError::Engine {
            op: "look at the images of",
            name: engine.name().to_string(),
            source,
        };
        let images = engine.images().ok_or_else(none)?.list().await.map_err(failed)?;
        let found = images.into_iter().find(|info| info.name == *image).ok_or_else(none)?;
        if image.digest().is_some() {
            return Ok(image.clone());
        }
        image.at_digest(&found.digest).map_err(|_| none())
    }
}

impl Template {
    /// The spec of a box that is made of this template.
    #[must_use]
    pub fn spec_of(&self, name: BoxName) -> BoxSpec {
        BoxSpec { name, ..self.spec.clone() }
    }
}

fn template(thing: &ThingRecord) -> Result<Template, HerdError> {
    let Body { image, spec } = read(thing)?;
    Ok(Template { id: thing.id, name: thing.name.clone(), image, spec })
}
