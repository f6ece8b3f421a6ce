//! Long work on a thread of its own, watched from an async task.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use boxherd_model::{Progress, ProgressEvent};
use tokio::task::spawn_blocking;

use crate::ImageError;

/// How often progress of work on another thread is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What the two sides share.
#[derive(Debug, Default)]
pub(crate) struct Job {
    /// Bytes of input that have been used.
    pub(crate) done: AtomicU64,
    /// Set when nobody waits any more.
    pub(crate) cancel: AtomicBool,
}

/// Cancels the job when the future that waits for it is dropped.
struct CancelOnDrop(Arc<Job>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` on a blocking thread and tells `progress` how much of `item` is done.
pub(crate) async fn run<T: Send + 'static>(
    progress: &dyn Progress,
    item: &str,
    work: impl FnOnce(&Job) -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let guard = CancelOnDrop(Arc::default());
    let job = Arc::clone(&guard.0);
    let mut running = spawn_blocking(move || work(&job));
    let mut ticks = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            ended = &mut running => {
                return ended.unwrap_or_else(|error| {
                    Err(ImageError::io("run the work on", item, io::Error::other(error)))
                });
            }
            _ = ticks.tick() => {
                let done = guard.0.done.load(Ordering::Relaxed);
                progress.event(ProgressEvent::At { item, done });
            }
        }
    }
}

/// Counts what is read through it.
pub(crate) struct Counted<'a, R> {
    pub(crate) inner: R,
    pub(crate) job: &'a Job,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.job.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
