//! What a herd is told about the world, so that it reads neither clock nor environment itself.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use boxherd_model::Timestamp;

/// What a herd is told.
#[derive(Clone)]
pub struct HerdConfig {
    /// The folder of the locks; shared by every process on one store. It is made when missing.
    pub locks: PathBuf,
    /// A file that the audit log is written to besides the store, a JSON document a line.
    pub audit: Option<PathBuf>,
    /// Changes when the host is restarted.
    pub boot_id: String,
    /// The one clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// How long another process's operation on the same box is waited for.
    pub patience: Duration,
    /// For a store that servers share which can stand still one by one: boxes are worked on under a
    /// lease of this length instead of a lock, and one that is not renewed in time is taken over.
    pub lease: Option<Duration>,
}

impl HerdConfig {
    /// With the system's clock, and 30 s of patience.
    #[must_use]
    pub fn new(locks: PathBuf, boot_id: String) -> Self {
        Self {
            locks,
            audit: None,
            boot_id,
            clock: Arc::new(|| SystemTime::now().into()),
            patience: Duration::from_secs(30),
            lease: None,
        }
    }
}

impl fmt::Debug for HerdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HerdConfig")
            .field("locks", &self.locks)
            .field("audit", &self.audit)
            .field("boot_id", &self.boot_id)
            .field("patience", &self.patience)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
