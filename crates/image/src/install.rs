//! From a stream to a layer of the store.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use boxherd_model::ImageRef;

use crate::claim::Claim;
use crate::compression::decompressed;
use crate::digest::{Digest, HashingReader};
use crate::job::{Counted, Job};
use crate::lock::Lock;
use crate::record::LayerRecord;
use crate::unpack::{self, UnpackError, Unpacked};
use crate::work::Work;
use crate::{ImageError, ImageStore};

const BUFFER: usize = 256 << 10;

/// What a stream must turn out to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    /// The digest of the stream itself, when it has not been checked yet.
    pub(crate) blob: Option<Digest>,
    /// The digest of the tar stream in it.
    pub(crate) diff_id: Option<Digest>,
}

/// A layer that is in the store, and stays there while the lock is held.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) diff_id: Digest,
    pub(crate) record: LayerRecord,
    #[expect(dead_code, reason = "held for its lock")]
    pub(crate) lock: Lock,
}

impl ImageStore {
    /// Unpacks `stream` and makes it a layer. `image` and `label` name it in errors. `lock` is the
    /// layer's own, held alone, where the diff id is known beforehand. Blocks.
    pub(crate) fn install(
        &self,
        image: &ImageRef,
        label: &str,
        stream: impl Read,
        expected: &Expected,
        lock: Option<Lock>,
        job: &Job,
    ) -> Result<Installed, ImageError> {
        let work = Work::begin(&self.layout.folder("tmp"))?;
        let failed = |source| ImageError::layer(image, label, source);
        let (diff_id, unpacked) = self.unpack(image, label, stream, expected, &work, job)?;
        if expected.diff_id.is_none() && !unpacked.end_marker {
            let reason = "the stream ends without the end marker of a tar stream";
            return Err(failed(UnpackError::Malformed { offset: 0, reason }));
        }
        let Unpacked { size, notes, opaque_root, .. } = unpacked;
        let record = LayerRecord { size, notes, opaque_root };
        let lock = match lock {
            Some(lock) => lock,
            None => match self.claim_blocking(&diff_id, job, failed)? {
                Claim::Here(installed) => return Ok(installed),
                Claim::Ours(lock) => lock,
            },
        };
        self.publish(&work, &diff_id, &record)?;
        let path = self.layout.layer_lock(&diff_id);
        let lock = lock.share().map_err(|error| ImageError::io("lock", path, error))?;
        Ok(Installed { diff_id, record, lock })
    }

    /// Unpacks into `work` and checks the digests.
    fn unpack(
        &self,
        image: &ImageRef,
        label: &str,
        stream: impl Read,
        expected: &Expected,
        work: &Work,
        job: &Job,
    ) -> Result<(Digest, Unpacked), ImageError> {
        let files = make_folders(work)?;
        let failed = |source| ImageError::layer(image, label, source);
        let mut blob = HashingReader::when(expected.blob.is_some(), Counted { inner: stream, job });
        let (diff_id, unpacked) = {
            let tar = decompressed(BufReader::with_capacity(BUFFER, &mut blob));
            let mut tar = HashingReader::new(tar.map_err(|e| failed(UnpackError::Read(e)))?);
            let unpacked = unpack::unpack(&mut tar, &files, self.limits, &job.cancel);
            (tar.digest(), unpacked)
        };
        // A damaged stream fails to unpack in many ways; what is wrong with it is its digest. What
        // was given up was not read to its end and has none.
        if let Some(wanted) = &expected.blob
            && !matches!(unpacked, Err(UnpackError::Cancelled))
            && io::copy(&mut blob, &mut io::sink()).is_ok()
            && blob.digest() != *wanted
        {
            return Err(ImageError::corrupt(image, wanted, &blob.digest()));
        }
        let unpacked =
            unpacked.map_err(|error| ImageError::unpacking(image, label, &files, error))?;
        match &expected.diff_id {
            Some(wanted) if *wanted != diff_id => Err(ImageError::corrupt(image, wanted, &diff_id)),
            _ => Ok((diff_id, unpacked)),
        }
    }

    /// Renames the layer in `work` to where everyone finds it, when all of it is on disk.
    fn publish(
        &self,
        work: &Work,
        diff_id: &Digest,
        record: &LayerRecord,
    ) -> Result<(), ImageError> {
        let (from, to) = (work.path("layer"), self.layout.layer(diff_id));
        let done = serde_json::to_vec(record)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(from.join("layer.json"), bytes))
            // One call for the whole tree; a call per file would take minutes for large images.
            .and_then(|()| Ok(rustix::fs::syncfs(File::open(&from)?)?))
            .and_then(|()| fs::rename(&from, &to))
            .and_then(|()| crate::record::sync_parent(&to));
        done.map_err(|error| ImageError::io("write", to, error))
    }
}

/// The folder of a layer in `work`, and in it the folder for its files.
fn make_folders(work: &Work) -> Result<PathBuf, ImageError> {
    let layer = work.path("layer");
    let files = layer.join("fs");
    let made = fs::create_dir(&layer).and_then(|()| fs::create_dir(&files)).and_then(|()| {
        // Whatever the umask is: a layer that says nothing of its root has an ordinary one.
        fs::set_permissions(&files, fs::Permissions::from_mode(0o755))
    });
    made.map_err(|error| ImageError::io("make", &files, error))?;
    Ok(files)
}
