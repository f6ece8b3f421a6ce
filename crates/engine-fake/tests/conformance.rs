//! The fake engine passes the suite, and what it skips is listed.

use std::process::ExitCode;
use std::sync::Arc;

use boxherd_engine::conformance::{Need, Subject, main as run};
use boxherd_engine::{Engine, EngineError};
use boxherd_engine_fake::FakeEngine;

#[derive(Debug)]
struct Fake(FakeEngine);

#[async_trait::async_trait]
impl Subject for Fake {
    async fn open(&self) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(Arc::new(self.0.reopened()))
    }

    fn isolates(&self) -> bool {
        false
    }

    fn skipped(&self, case: &str, need: Need) {
        boxherd_testkit::skip(&format!("engine-fake {case}"), &need.to_string());
    }
}

fn main() -> ExitCode {
    run(|| {
        let name = "fake".parse().map_err(|error| format!("{error}"))?;
        let engine = FakeEngine::new(name).map_err(|error| error.to_string())?;
        Ok(Arc::new(Fake(engine)))
    })
}
