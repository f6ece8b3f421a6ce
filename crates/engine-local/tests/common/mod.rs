//! The subject of the suite of every engine: real boxes, in a data folder of their own.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use boxherd_engine::conformance::{Need, Subject};
use boxherd_engine::{Engine, EngineError, conformance};
use boxherd_engine_local::{Helper, LocalEngine};
use boxherd_model::Isolation;

#[derive(Debug)]
struct Local {
    data: tempfile::TempDir,
    helper: Helper,
    isolation: Isolation,
}

impl Local {
    fn open(&self) -> Result<LocalEngine, EngineError> {
        let name = "local".parse().expect("a name");
        LocalEngine::open(name, self.data.path(), self.helper.clone())
    }
}

#[async_trait]
impl Subject for Local {
    async fn open(&self) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(Self::open(self)?))
    }

    fn isolates(&self) -> bool {
        true
    }

    fn isolation(&self) -> Isolation {
        self.isolation
    }

    fn skipped(&self, case: &str, need: Need) {
        boxherd_testkit::skip(case, &need.to_string());
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // Every case has deleted its boxes.
        self.open().and_then(|engine| engine.dismantle()).expect("no box is left");
        let left = boxherd_testkit::Leftovers::of_data(self.data.path());
        // A helper may still free what was large.
        let left = left.find_after(Duration::from_secs(20));
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}

/// Runs the suite with boxes that are held so. To be called while there is one thread.
pub(crate) fn run(isolation: Isolation) -> ExitCode {
    let helper = Helper::fork(2).expect("a helper");
    conformance::main(|| {
        let data = tempfile::Builder::new().prefix("boxherd-conformance-").tempdir();
        let data = data.map_err(|error| error.to_string())?;
        Ok(Arc::new(Local { data, helper, isolation }))
    })
}
