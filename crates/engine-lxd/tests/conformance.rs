//! The suite of every engine, on instances of a real LXD: see `cargo xtask lab lxd`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use boxherd_engine::conformance::{Need, Subject, main as run};
use boxherd_engine::{Engine, EngineError};
use boxherd_engine_lxd::{LxdEngine, Settings};
use boxherd_lxd_client::Remote;

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
        };
        Ok(Arc::new(LxdEngine::new(settings, &Remote::unix(&self.socket))?))
    }

    fn isolates(&self) -> bool {
        true
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
    run(move || Ok(Arc::new(Lxd { socket: socket.clone() })))
}
