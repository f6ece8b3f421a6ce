//! The suite of every engine, on instances of a real LXD: see `cargo xtask lab lxd`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use boxherd_engine::conformance::{Need, Subject, main_of as run};
use boxherd_engine::{Engine, EngineError};
use boxherd_engine_lxd::{LxdEngine, Settings};
use boxherd_lxd_client::Remote;

/// What an engine can do wrong. The rest is the agent's, which passes it elsewhere, and is run here when
/// `BOXHERD_LXD_SUITE` is `all`: an instance takes seconds.
const ENGINES: [&str; 9] = [
    "lifecycle::",
    "fork::",
    "snapshots::",
    "suspend::",
    "reopen::",
    "limits::",
    "reattach::",
    "streams::",
    "ports::",
];

#[derive(Debug)]
struct Lxd {
    socket: PathBuf,
}

#[async_trait::async_trait]
impl Subject for Lxd {
    async fn open(&self) -> Result<Arc<dyn Engine>, EngineError> {
        let settings = Settings {
            name: "lxd".parse().expect("a name"),
            installation: "conformance".to_owned(),
            image: Some("deb12".parse().expect("an image")),
            pool: Some("bt".to_owned()),
            // A limit there is one of the image and what is written together, and the image is
            // larger than the limits of the cases.
            pool_driver: None,
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

fn main() -> ExitCode {
    let Some(lab) = std::env::var_os("BOXHERD_LAB_LXD") else {
        boxherd_testkit::skip(
            "conformance of engine-lxd",
            "there is no lab: `cargo xtask lab lxd up`",
        );
        return ExitCode::SUCCESS;
    };
    let socket = PathBuf::from(lab).join("d1/unix.socket");
    let all = std::env::var_os("BOXHERD_LXD_SUITE").is_some_and(|which| which == "all");
    let wanted = |case: &str| all || ENGINES.iter().any(|theme| case.starts_with(theme));
    run(wanted, move || Ok(Arc::new(Lxd { socket })))
}
