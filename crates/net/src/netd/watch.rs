//! Noticing that leases and networks come and go.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::{Errno, read};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use tracing::warn;

use crate::NetError;
use crate::folder::Folder;

/// How long a change can go unnoticed where the kernel tells none, and how often the rest is seen
/// to.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// Watches the folder. Without inotify, of which a host has few, it only waits.
#[derive(Debug)]
pub(super) struct Watch(Option<AsyncFd<OwnedFd>>);

impl Watch {
    pub(super) fn new(folder: &Folder) -> Self {
        let watch = watched(folder);
        if let Err(error) = &watch {
            warn!(%error, "cannot watch the leases, looking every {INTERVAL:?}");
        }
        Self(watch.ok())
    }

    /// Returns when something has changed, or after the interval.
    pub(super) async fn changed(&mut self) {
        let Self(Some(inotify)) = self else { return tokio::time::sleep(INTERVAL).await };
        // Whether it was a change or the time does not matter: everything is looked at again.
        if let Ok(Ok(mut ready)) = timeout(INTERVAL, inotify.readable()).await {
            let mut events = [0; 4096];
            while read(ready.get_inner(), &mut events).is_ok() {}
            ready.clear_ready();
        }
    }
}

fn watched(folder: &Folder) -> Result<AsyncFd<OwnedFd>, NetError> {
    let failed = |errno: Errno| NetError::kernel("watch the leases")(errno.into());
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
    let leases = WatchFlags::DELETE | WatchFlags::ONLYDIR;
    add_watch(&inotify, folder.path("leases"), leases).map_err(failed)?;
    let networks = WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    add_watch(&inotify, folder.path("networks"), networks).map_err(failed)?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for descriptors that change while they are watched; \
                  this one is owned and does not"
    )]
    let watched = AsyncFd::new(inotify);
    watched.map_err(NetError::kernel("watch the leases"))
}
