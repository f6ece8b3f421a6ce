//! Who makes a layer, when several want it at once.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::digest::Digest;
use crate::install::Installed;
use crate::job::Job;
use crate::lock::{Hold, Lock};
use crate::record::{self, LayerRecord};
use crate::unpack::UnpackError;
use crate::{ImageError, ImageStore};

/// How often a layer that somebody else makes is looked at again.
const RETRY: Duration = Duration::from_millis(20);

/// What is to be done about a layer.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Nothing: it is here, and stays.
    Here(Installed),
    /// It must be made by the holder of this lock, which is held alone.
    Ours(Lock),
}

impl ImageStore {
    /// Waits until a layer is here or ours to make.
    ///
    /// Whoever has made a layer keeps a share of its lock until the image is on record, so whoever
    /// waits must not insist on holding the lock alone: images that have layers in common would
    /// wait for each other in a circle.
    pub(crate) async fn claim(&self, diff_id: &Digest) -> Result<Claim, ImageError> {
        loop {
            match self.claim_now(diff_id)? {
                Some(claim) => return Ok(claim),
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// The same on a thread that may block.
    pub(crate) fn claim_blocking(
        &self,
        diff_id: &Digest,
        job: &Job,
        cancelled: impl Fn(UnpackError) -> ImageError,
    ) -> Result<Claim, ImageError> {
        loop {
            match self.claim_now(diff_id)? {
                Some(claim) => return Ok(claim),
                None if job.cancel.load(Ordering::Relaxed) => {
                    return Err(cancelled(UnpackError::Cancelled));
                }
                None => std::thread::sleep(RETRY),
            }
        }
    }

    /// `None` while somebody else makes or frees the layer.
    fn claim_now(&self, diff_id: &Digest) -> Result<Option<Claim>, ImageError> {
        let path = self.layout.layer_lock(diff_id);
        let here = self.has_layer(diff_id);
        let hold = if here { Hold::Shared } else { Hold::Exclusive };
        let lock =
            Lock::attempt_now(&path, hold).map_err(|error| ImageError::io("lock", &path, error))?;
        let Some(lock) = lock else { return Ok(None) };
        // What was true before the lock was held may have changed since.
        match (here, self.layer_record(diff_id)?) {
            (true, Some(record)) => {
                let diff_id = diff_id.clone();
                Ok(Some(Claim::Here(Installed { diff_id, record, lock })))
            }
            (false, None) => Ok(Some(Claim::Ours(lock))),
            _ => Ok(None),
        }
    }

    fn has_layer(&self, diff_id: &Digest) -> bool {
        fs::exists(self.layout.layer(diff_id)).unwrap_or(false)
    }

    fn layer_record(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, ImageError> {
        record::read(&self.layout.layer(diff_id).join("layer.json"))
    }
}
