//! Taking images from files.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use boxherd_model::{ImageInfo, ImageRef, ImageSource, Progress, ProgressEvent};

use crate::archive::{self, Archive, OciLayout};
use crate::claim::Claim;
use crate::digest::{Digest, sha256};
use crate::install::{Expected, Installed};
use crate::job::{self, Job};
use crate::oci::{self, Descriptor, Document, LARGEST_DOCUMENT, Layer, Manifest, Platform};
use crate::work::{Work, clean_litter};
use crate::{ImageConfig, ImageError, ImageStore};

/// An image whose layers, lowest first, are in the store.
struct Imported {
    digest: Digest,
    config: ImageConfig,
    layers: Vec<Installed>,
}

impl ImageStore {
    /// Keeps what lies at `path` as `name`: a root filesystem as a tar stream, an OCI archive
    /// (both plain or compressed with gzip or zstd), or an OCI layout folder. Dropping the future
    /// stops the work.
    pub async fn import(
        &self,
        name: &ImageRef,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, ImageError> {
        if name.source() == ImageSource::Host {
            let reason = "it is this machine itself; choose another name".to_owned();
            return Err(ImageError::BadName { image: name.clone(), verb: "imported", reason });
        }
        clean_litter(&self.layout.folder("tmp"))?;
        let found = fs::metadata(path).map_err(|error| ImageError::io("read", path, error))?;
        let total = found.is_file().then_some(found.len());
        let item = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        progress.event(ProgressEvent::Begin { item: &item, total });
        let (store, image, path) = (self.clone(), name.clone(), path.to_owned());
        let imported = job::run(progress, &item, move |job| store.take(&image, &path, job)).await?;
        progress.event(ProgressEvent::End { item: &item });
        self.keep(name, imported.digest, imported.config, imported.layers)
    }

    fn take(&self, image: &ImageRef, path: &Path, job: &Job) -> Result<Imported, ImageError> {
        let work = Work::begin(&self.layout.folder("tmp"))?;
        match archive::open(path, &work)? {
            Archive::Rootfs(file) => {
                let label = path.display().to_string();
                let layer = self.install(image, &label, file, &Expected::default(), None, job)?;
                let digest = layer.diff_id.clone();
                Ok(Imported { digest, config: ImageConfig::default(), layers: vec![layer] })
            }
            Archive::Oci(layout) => self.take_oci(image, &layout, job),
        }
    }

    fn take_oci(
        &self,
        image: &ImageRef,
        layout: &OciLayout,
        job: &Job,
    ) -> Result<Imported, ImageError> {
        let bad = |error| ImageError::bad_image(image, &error);
        let machine = Platform::of_this_machine();
        let (manifest, digest) = find_manifest(image, layout, &machine)?;
        let config = document(image, layout, &manifest.config)?;
        let (config, layers) = oci::read_config(&manifest, &config, &machine).map_err(bad)?;
        let layers = oci::without_repeats(layers);
        let layers = layers.iter().map(|layer| self.take_layer(image, layout, layer, job));
        Ok(Imported { digest, config, layers: layers.collect::<Result<_, _>>()? })
    }

    fn take_layer(
        &self,
        image: &ImageRef,
        layout: &OciLayout,
        layer: &Layer,
        job: &Job,
    ) -> Result<Installed, ImageError> {
        let label = layer.blob.digest.as_str();
        let cancelled = |source| ImageError::layer(image, label, source);
        let lock = match self.claim_blocking(&layer.diff_id, job, cancelled)? {
            Claim::Here(installed) => return Ok(installed),
            Claim::Ours(lock) => lock,
        };
        let blob = layout
            .blob(&layer.blob.digest)
            .map_err(|error| missing(image, &layer.blob.digest, &error))?;
        let expected = Expected {
            blob: Some(layer.blob.digest.clone()),
            diff_id: Some(layer.diff_id.clone()),
        };
        self.install(image, label, blob, &expected, Some(lock), job)
    }
}

fn find_manifest(
    image: &ImageRef,
    layout: &OciLayout,
    machine: &Platform,
) -> Result<(Manifest, Digest), ImageError> {
    let bad = |error| ImageError::bad_image(image, &error);
    let index = layout.index().and_then(read_bounded);
    let index =
        index.map_err(|error| ImageError::bad_image(image, &format!("`index.json`: {error}")))?;
    let mut bytes = index;
    let mut digest = None;
    // `index.json`, an index of platforms below it, and the manifest.
    for _ in 0..4 {
        match (Document::parse(&bytes).map_err(bad)?, digest) {
            (Document::Manifest(manifest), Some(digest)) => return Ok((manifest, digest)),
            (Document::Manifest(manifest), None) => return Ok((manifest, sha256(&bytes))),
            (Document::Index(images), _) => {
                let chosen = only_or_fitting(image, &images, machine)?;
                bytes = document(image, layout, chosen)?;
                digest = Some(chosen.digest.clone());
            }
        }
    }
    Err(ImageError::bad_image(image, &"its indexes name each other without end"))
}

/// Layouts hold images under several names; which is meant cannot be guessed.
fn only_or_fitting<'a>(
    image: &ImageRef,
    images: &'a [Descriptor],
    machine: &Platform,
) -> Result<&'a Descriptor, ImageError> {
    if images.len() > 1 && images.iter().all(|image| image.platform.is_none()) {
        let reason = format!("the archive holds {} images; export one", images.len());
        return Err(ImageError::bad_image(image, &reason));
    }
    oci::choose(images, machine).map_err(|error| ImageError::bad_image(image, &error))
}

/// A small blob, checked.
fn document(
    image: &ImageRef,
    layout: &OciLayout,
    blob: &Descriptor,
) -> Result<Vec<u8>, ImageError> {
    let bytes = layout.blob(&blob.digest).and_then(read_bounded);
    let bytes = bytes.map_err(|error| missing(image, &blob.digest, &error))?;
    let found = sha256(&bytes);
    if found == blob.digest {
        return Ok(bytes);
    }
    Err(ImageError::Corrupt {
        image: image.clone(),
        what: format!("document `{}`", blob.digest.short()),
        expected: blob.digest.to_string(),
        found: found.to_string(),
    })
}

fn read_bounded(stream: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(LARGEST_DOCUMENT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn missing(image: &ImageRef, digest: &Digest, error: &io::Error) -> ImageError {
    ImageError::bad_image(image, &format!("the archive's blob `{digest}` cannot be read: {error}"))
}
