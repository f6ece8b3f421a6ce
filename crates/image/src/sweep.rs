//! Freeing what nothing uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::ImageError;
use crate::digest::Digest;
use crate::lock::{Hold, Lock};
use crate::record::{self, LayerRecord};
use crate::store::{Freed, ImageStore};
use crate::work::{Work, absent_is_fine, clean_litter};

/// How long a blob that is half fetched waits for a pull that goes on with it.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

impl ImageStore {
    /// Frees every layer that no name, no box and no running pull uses. `used` says whether a box
    /// was made from a digest ([`Rootfs::digest`](crate::Rootfs::digest)); such an image keeps its
    /// layers after its name is gone or stands for something newer.
    ///
    /// Waits for every [`Lease`](crate::Lease): boxes that are just being made are on record when
    /// `used` is asked.
    pub fn sweep(&self, used: &dyn Fn(&str) -> bool) -> Result<Freed, ImageError> {
        clean_litter(&self.layout.folder("tmp"))?;
        let path = self.layout.use_lock();
        let alone = Lock::wait(&path, Hold::Exclusive)
            .map_err(|error| ImageError::io("lock", path, error))?;
        // Layers are locked first and records read then: a pull lets go of its layers only after
        // it has recorded them, so what could be locked is on record or needed by nobody.
        let free = self.lock_idle_layers()?;
        let kept = self.drop_unused_manifests(used)?;
        let work = Work::begin(&self.layout.folder("tmp"))?;
        let mut freed = Freed::default();
        for (layer, _lock) in free.iter().filter(|(layer, _)| !kept.contains(layer)) {
            freed.bytes += self.free_layer(&work, layer)?;
            freed.layers += 1;
        }
        self.drop_stale_partials()?;
        // Boxes may be made again; the files themselves go with `work`.
        drop(alone);
        Ok(freed)
    }

    /// Blobs of pulls that nobody has gone on with for a day.
    fn drop_stale_partials(&self) -> Result<(), ImageError> {
        for blob in digests_in(&self.layout.folder("partial"))? {
            let path = self.layout.partial(&blob);
            let failed = |error| ImageError::io("clean", &path, error);
            let Some(lock) = Lock::attempt_now(&path, Hold::Exclusive).map_err(failed)? else {
                continue;
            };
            let written = lock.file().metadata().and_then(|found| found.modified());
            // A time in the future is not stale either.
            let age = written.map_err(failed)?.elapsed().unwrap_or_default();
            if age > STALE {
                self.forget_partial(&path)?;
            }
        }
        Ok(())
    }

    fn lock_idle_layers(&self) -> Result<Vec<(Digest, Lock)>, ImageError> {
        let mut idle = Vec::new();
        for layer in digests_in(&self.layout.folder("layers"))? {
            let path = self.layout.layer_lock(&layer);
            let lock = Lock::attempt_now(&path, Hold::Exclusive)
                .map_err(|error| ImageError::io("lock", path, error))?;
            idle.extend(lock.map(|lock| (layer, lock)));
        }
        Ok(idle)
    }

    /// The layers of the manifests that stay.
    fn drop_unused_manifests(
        &self,
        used: &dyn Fn(&str) -> bool,
    ) -> Result<BTreeSet<Digest>, ImageError> {
        let named: BTreeSet<Digest> = self.names()?.into_iter().map(|name| name.digest).collect();
        let mut kept = BTreeSet::new();
        for digest in digests_in(&self.layout.folder("manifests"))? {
            if named.contains(&digest) || used(digest.as_str()) {
                kept.extend(self.manifest(&digest)?.into_iter().flat_map(|found| found.layers));
            } else {
                let path = self.layout.manifest(&digest);
                absent_is_fine(fs::remove_file(&path))
                    .map_err(|error| ImageError::io("remove", path, error))?;
            }
        }
        Ok(kept)
    }

    /// Bytes that were freed. The caller holds the layer's lock alone.
    fn free_layer(&self, work: &Work, layer: &Digest) -> Result<u64, ImageError> {
        let path = self.layout.layer(layer);
        let size = record::read::<LayerRecord>(&path.join("layer.json"))?.map_or(0, |r| r.size);
        // Renamed first: a half-removed layer must never look complete.
        fs::rename(&path, work.path(&layer.file_name()))
            .map_err(|error| ImageError::io("free", &path, error))?;
        let lock = self.layout.layer_lock(layer);
        fs::remove_file(&lock).map_err(|error| ImageError::io("remove", lock, error))?;
        Ok(size)
    }
}

fn digests_in(folder: &Path) -> Result<Vec<Digest>, ImageError> {
    let failed = |error| ImageError::io("list", folder, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let stem = name.to_str().map(|name| name.strip_suffix(".json").unwrap_or(name));
        found.extend(stem.and_then(Digest::from_file_name));
    }
    Ok(found)
}
