//! Pulling an image from its registry.

use std::io::{Seek as _, SeekFrom};
use std::time::SystemTime;

use boxherd_model::{ImageInfo, ImageRef, ImageSource, Progress, ProgressEvent};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::claim::Claim;
use crate::digest::Digest;
use crate::install::{Expected, Installed};
use crate::lock::{Hold, Lock};
use crate::oci::{self, Document, Layer, Manifest, Platform};
use crate::record::{ManifestRecord, NameRecord};
use crate::registry::Registry;
use crate::work::{Work, clean_litter};
use crate::{ImageConfig, ImageError, ImageStore, job};

/// Layers that are fetched and unpacked at once.
const AT_ONCE: usize = 4;

/// An index may name an index; nobody needs more than one step of that.
const DEEPEST_INDEX: usize = 3;

impl ImageStore {
    /// Fetches `image` from its registry, or builds it when it is `debian:CODENAME`, and keeps it
    /// under its name. Layers that are here already are not fetched again; a fetch that was cut
    /// off goes on where it was. Dropping the future stops the work and keeps what was fetched.
    pub async fn pull(
        &self,
        image: &ImageRef,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, ImageError> {
        let bad = |reason: &str| {
            let reason = reason.to_owned();
            Err(ImageError::BadName { image: image.clone(), verb: "pulled", reason })
        };
        match image.source() {
            ImageSource::Host => bad("it is this machine itself and always there"),
            ImageSource::Local(_) => bad("it names no registry; write `HOST[:PORT]/NAME[:TAG]`"),
            ImageSource::Debian { codename } => self.build_debian(codename, progress).await,
            ImageSource::Registry(_) => self.pull_from_registry(image, progress).await,
        }
    }

    async fn pull_from_registry(
        &self,
        image: &ImageRef,
        progress: &dyn Progress,
    ) -> Result<ImageInfo, ImageError> {
        clean_litter(&self.layout.folder("tmp"))?;
        let registry = Registry::new(image, self.credentials.as_deref())?;
        let bad = |error| ImageError::bad_image(image, &error);
        let (manifest, digest) = find_manifest(&registry, image).await?;
        let config = registry.config(&manifest.config).await?;
        let machine = Platform::of_this_machine();
        let (config, layers) = oci::read_config(&manifest, &config, &machine).map_err(bad)?;
        let layers = oci::without_repeats(layers);
        // Collected first: a stream that borrows makes a future nobody can prove to be `Send`.
        let pull = |layer| self.pull_layer(&registry, image, layer, progress);
        let pulls: Vec<_> = layers.iter().map(pull).collect();
        let installed: Vec<Installed> = stream::iter(pulls).buffered(AT_ONCE).try_collect().await?;
        self.keep(image, digest, config, installed)
    }

    /// Records an image whose layers, lowest first, are here and locked. Layers below one that
    /// hides them all are left out.
    pub(crate) fn keep(
        &self,
        image: &ImageRef,
        digest: Digest,
        config: ImageConfig,
        installed: Vec<Installed>,
    ) -> Result<ImageInfo, ImageError> {
        let lowest = installed.iter().rposition(|layer| layer.record.opaque_root).unwrap_or(0);
        let installed = &installed[lowest..];
        let size = installed.iter().map(|layer| layer.record.size).sum();
        for (layer, note) in
            installed.iter().flat_map(|layer| layer.record.notes.iter().map(move |n| (layer, n)))
        {
            tracing::info!(%image, layer = layer.diff_id.short(), "{note}");
        }
        let layers = installed.iter().rev().map(|layer| layer.diff_id.clone()).collect();
        let manifest = ManifestRecord { digest, layers, config, size };
        let name = NameRecord {
            name: image.clone(),
            digest: manifest.digest.clone(),
            created: SystemTime::now().into(),
        };
        let work = Work::begin(&self.layout.folder("tmp"))?;
        self.record(&work, name, &manifest)
    }

    /// Makes sure of one layer, whoever has fetched it or is fetching it now.
    async fn pull_layer(
        &self,
        registry: &Registry,
        image: &ImageRef,
        layer: &Layer,
        progress: &dyn Progress,
    ) -> Result<Installed, ImageError> {
        match self.claim(&layer.diff_id).await? {
            Claim::Here(installed) => Ok(installed),
            Claim::Ours(lock) => self.fetch_layer(registry, image, layer, lock, progress).await,
        }
    }

    /// Fetches and unpacks a layer whose lock is held alone.
    async fn fetch_layer(
        &self,
        registry: &Registry,
        image: &ImageRef,
        layer: &Layer,
        lock: Lock,
        progress: &dyn Progress,
    ) -> Result<Installed, ImageError> {
        if layer.blob.size > self.limits.bytes {
            let reason = format!("layer `{}` has {} bytes", layer.blob.digest, layer.blob.size);
            return Err(ImageError::bad_image(image, &reason));
        }
        let path = self.layout.partial(&layer.blob.digest);
        // Two images may have the same blob and lie about what it unpacks to.
        let partial = Lock::acquire(&path, Hold::Exclusive)
            .await
            .map_err(|error| ImageError::io("lock", &path, error))?;
        let fetched = registry.blob(&layer.blob, partial.file(), progress).await;
        // On a full disk, half a blob only keeps it full.
        if let Err(ImageError::Corrupt { .. } | ImageError::NoSpace { .. }) = fetched {
            self.forget_partial(&path)?;
        }
        fetched?;
        progress.event(ProgressEvent::End { item: layer.blob.digest.short() });
        let item = format!("unpack {}", layer.blob.digest.short());
        progress.event(ProgressEvent::Begin { item: &item, total: Some(layer.blob.size) });
        let (store, image, layer) = (self.clone(), image.clone(), layer.clone());
        let installed = job::run(progress, &item, move |job| {
            let mut blob = partial.file();
            blob.seek(SeekFrom::Start(0)).map_err(|e| ImageError::io("read", &path, e))?;
            let expected = Expected { blob: None, diff_id: Some(layer.diff_id) };
            let label = layer.blob.digest.as_str();
            let installed = store.install(&image, label, blob, &expected, Some(lock), job);
            // Unpacked or not to be unpacked ever: no more use for the blob. The lock on it ends
            // with this thread, after it is gone.
            if !matches!(&installed, Err(error) if error.is_cancelled()) {
                store.forget_partial(&path)?;
            }
            installed
        })
        .await?;
        progress.event(ProgressEvent::End { item: &item });
        Ok(installed)
    }
}

/// The manifest for this machine, and its digest.
async fn find_manifest(
    registry: &Registry,
    image: &ImageRef,
) -> Result<(Manifest, Digest), ImageError> {
    let bad = |error| ImageError::bad_image(image, &error);
    let (mut bytes, mut digest) = registry.root_document().await?;
    for _ in 0..DEEPEST_INDEX {
        match Document::parse(&bytes).map_err(bad)? {
            Document::Manifest(manifest) => return Ok((manifest, digest)),
            Document::Index(images) => {
                let chosen = oci::choose(&images, &Platform::of_this_machine()).map_err(bad)?;
                digest = chosen.digest.clone();
                bytes = registry.manifest(&digest).await?;
            }
        }
    }
    Err(ImageError::bad_image(image, &"its indexes name each other without end"))
}
