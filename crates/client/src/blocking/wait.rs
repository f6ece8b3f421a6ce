//! The event loop of a blocking client.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::Error;

/// Waits for what an event loop does in another thread.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    handle: Handle,
    _keeps: Arc<Keeps>,
}

#[derive(Debug)]
struct Keeps(Option<Runtime>);

impl Drop for Keeps {
    fn drop(&mut self) {
        // In the background: it may be dropped where nothing may wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Wait {
    pub(super) fn new() -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("boxherd-client")
            .enable_all()
            .build()
            .map_err(|error| Error::Config(format!("cannot start an event loop: {error}")))?;
        Ok(Self { handle: runtime.handle().clone(), _keeps: Arc::new(Keeps(Some(runtime))) })
    }

    pub(super) fn until<F: Future>(&self, done: F) -> F::Output {
        self.handle.block_on(done)
    }
}
