//! What the suites on servers of both kinds share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boxherd_engine::conformance::{Need, Subject};
use boxherd_engine::{Engine, EngineError};
use boxherd_engine_lxd::{Facts, LxdEngine, Settings};
use boxherd_lxd_client::Remote;
use boxherd_testkit::LxdCluster;

/// An engine on the server behind a socket.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
    /// The pool for disks; the profile's own when none is named.
    pub(crate) pool: Option<&'static str>,
    /// What that is driven by.
    pub(crate) driver: Option<&'static str>,
    /// What boxes are made of.
    pub(crate) image: &'static str,
    /// Kept for as long as the server is used.
    pub(crate) _kept: Option<LxdCluster>,
}

impl Server {
    /// On a pool whose copies share their blocks.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, pool: Some("bt"), driver: Some("btrfs"), image: "deb12", _kept: None }
    }
}

/// Whether everything is run, and not only what can differ from elsewhere.
pub(crate) fn all() -> bool {
    is_asked_for("all")
}

/// Which of what is not always run is to be.
pub(crate) fn is_asked_for(part: &str) -> bool {
    std::env::var_os("BOXHERD_LXD_SUITE").is_some_and(|which| which == part)
}

#[async_trait::async_trait]
impl Subject for Server {
    async fn open(&self) -> Result<Arc<dyn Engine>, EngineError> {
        let settings = Settings {
            name: "lxd".parse().expect("a name"),
            installation: "conformance".to_owned(),
            image: Some(self.image.parse().expect("an image")),
            pool: self.pool.map(str::to_owned),
            remotes: None,
            patience: None,
            facts: Facts { pool_driver: self.driver.map(str::to_owned), ..Facts::default() },
        };
        Ok(Arc::new(LxdEngine::new(settings, &Remote::unix(&self.socket))?))
    }

    fn isolates(&self) -> bool {
        true
    }

    /// Servers take a second or two to make an instance, one after the other.
    fn patience(&self) -> Duration {
        Duration::from_secs(200)
    }

    fn agent_is_init(&self) -> bool {
        false
    }

    /// A limit is one of the image and what is written together.
    fn limits_what_is_written(&self) -> bool {
        false
    }

    /// Pools of the kind `btrfs` have quotas.
    fn says_full(&self) -> &'static str {
        "Disk quota exceeded"
    }

    fn skipped(&self, case: &str, need: Need) {
        boxherd_testkit::skip(&format!("engine-lxd {case}"), &need.to_string());
    }
}
