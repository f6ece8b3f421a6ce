//! What the suites on servers of both kinds share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boxherd_engine::conformance::{Need, Subject};
use boxherd_engine::{Engine, EngineError};
use boxherd_engine_lxd::{Facts, LxdEngine, Settings};
use boxherd_lxd_client::Remote;

/// An engine on the server behind a socket.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
}

#[async_trait::async_trait]
impl Subject for Server {
    async fn open(&self) -> Result<Arc<dyn Engine>, EngineError> {
        let settings = Settings {
            name: "lxd".parse().expect("a name"),
            installation: "conformance".to_owned(),
            image: Some("deb12".parse().expect("an image")),
            pool: Some("bt".to_owned()),
            // A limit there is one of the image and what is written together, and the image is
            // larger than the limits of the cases.
            remotes: None,
            facts: Facts::default(),
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

    fn fences(&self) -> bool {
        false
    }

    fn skipped(&self, case: &str, need: Need) {
        boxherd_testkit::skip(&format!("engine-lxd {case}"), &need.to_string());
    }
}
