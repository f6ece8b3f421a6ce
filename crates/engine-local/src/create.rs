//! Making a box that does not run.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use boxherd_engine::{EngineError, Made, Running, Unsupported, fault};
use boxherd_image::Rootfs;
use boxherd_model::{BoxId, BoxSpec, Capability, ImageRef, ImageSource, Isolation};
use boxherd_net::netd::NetdCommand;

use crate::capabilities;
use crate::core::Core;
use crate::error::{at, storage};
use crate::record::{self, BoxRecord};
use crate::sandbox::{self, Renewal};

impl Core {
    pub(crate) fn create(&self, id: BoxId, spec: &BoxSpec) -> Result<Made, EngineError> {
        self.create_while(id, spec, |_| Ok(())).map(|(made, ())| made)
    }

    /// Makes a box and starts it. Its first process is made at the same time as its root.
    pub(crate) fn launch(
        &self,
        id: BoxId,
        spec: &BoxSpec,
        netd: Option<&NetdCommand>,
    ) -> Result<(Made, (Running, Option<Renewal>)), EngineError> {
        let begin = |record: &BoxRecord| Ok((record.clone(), self.half(id, record)?));
        let (made, (record, half)) = self.create_while(id, spec, begin)?;
        let disk = (spec.limits.disk, true);
        let started = self.pool.with_room(id, disk, || self.start_with(id, &record, half, netd))?;
        Ok((made, started))
    }

    /// What `meanwhile` begins, once it is written down what box is made, goes on beside the rest.
    fn create_while<T>(
        &self,
        id: BoxId,
        spec: &BoxSpec,
        meanwhile: impl FnOnce(&BoxRecord) -> Result<T, EngineError>,
    ) -> Result<(Made, T), EngineError> {
        let begun = Instant::now();
        let mut made = Made::default();
        self.refuse_what_cannot_be(spec)?;
        let image = self.resolve(&spec.image)?;
        made.image_digest = image.as_ref().map(|image| image.digest.clone());
        made.timings.push("image", begun.elapsed());
        let at_rootfs = Instant::now();
        let record = self.begin(id, spec, made.image_digest.clone())?;
        let begun = meanwhile(&record)?;
        let layer = self.pool.create_layer(id, spec.limits.disk).map_err(storage)?;
        fault::point("create.layer");
        furnish(&layer.path).map_err(at("make the box's root"))?;
        fault::point("create.root");
        self.finish(id)?;
        // From here on the record holds the image's layers.
        drop(image);
        made.timings.push("rootfs", at_rootfs.elapsed());
        Ok((made, begun))
    }

    /// Writes down what is about to be made, so that a delete finds all of it.
    pub(crate) fn begin(
        &self,
        id: BoxId,
        spec: &BoxSpec,
        image: Option<String>,
    ) -> Result<BoxRecord, EngineError> {
        let folder = self.folder(id);
        self.data.make_folder(id).map_err(at("make the box's folder"))?;
        fault::point("create.folder");
        let claimed = self.uids.as_ref().map(|uids| uids.claim(id, &folder.claimant())).transpose();
        let uids = claimed.map_err(at("claim host ids"))?;
        fault::point("create.uids");
        let record = BoxRecord { spec: spec.clone(), uids, image };
        record::write(&folder.draft(), &record).map_err(at("write `box.json`"))?;
        fault::point("create.draft");
        Ok(record)
    }

    /// The box is whole.
    pub(crate) fn finish(&self, id: BoxId) -> Result<(), EngineError> {
        let folder = self.folder(id);
        fs::rename(folder.draft(), folder.record()).map_err(at("write `box.json`"))?;
        fault::point("create.whole");
        Ok(())
    }

    /// Nothing that was asked for is left out without a word.
    pub(crate) fn refuse_what_cannot_be(&self, spec: &BoxSpec) -> Result<(), EngineError> {
        if spec.nesting && spec.isolation == Isolation::Gvisor {
            let reason = "boxes with gVisor make no boxes".to_owned();
            let capability = Capability::Nesting;
            return Err(Unsupported { op: "nesting", capability, reason }.into());
        }
        for (op, capability) in spec.needs() {
            if let Err(reason) = capabilities::look(self, capability) {
                return Err(Unsupported { op, capability, reason }.into());
            }
        }
        if spec.isolation == Isolation::Gvisor {
            // Its version, which takes too long to ask on behalf of others.
            let refused =
                |reason| Unsupported { op: "isolation", capability: Capability::Gvisor, reason };
            sandbox::runsc().map_err(refused)?;
        }
        Ok(())
    }

    fn resolve(&self, image: &ImageRef) -> Result<Option<Rootfs>, EngineError> {
        if *image == ImageRef::host() {
            return Ok(None);
        }
        let mut found = self.images.resolve(image).map_err(crate::images::refused)?;
        if let (None, Some(digest)) = (&found, image.digest()) {
            // Whatever it is called now: a digest says what is meant.
            found = self.images.rootfs(digest).map_err(crate::images::refused)?;
        }
        found.map(Some).ok_or_else(|| EngineError::Image {
            image: image.to_string(),
            reason: "it is not in the image store".to_owned(),
            hint: Some(match image.source() {
                ImageSource::Local(_) => "`boxherd image ls` lists those that are".to_owned(),
                _ => format!("run `boxherd image pull {image}`"),
            }),
        })
    }
}

/// What lies in a layer: the upper and the work folder of the root's overlay, and the console.
pub(crate) const ROOT: &str = "root";
pub(crate) const WORK: &str = "work";
pub(crate) const CONSOLE: &str = "console";

fn furnish(layer: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let root = layer.join(ROOT);
    fs::DirBuilder::new().mode(0o755).create(&root)?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
    fs::create_dir(layer.join(WORK))
}
