//! The subject of the suite of every engine: real boxes, in a data folder of their own.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use boxherd_engine::conformance::{Need, Subject};
use boxherd_engine::{Engine, EngineError, conformance};
use boxherd_engine_local::storage::prepare_loop_pool;
use boxherd_engine_local::{Helper, LocalEngine};
use boxherd_model::{ByteSize, Isolation};

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
        let dismantled = self.open().and_then(|engine| engine.dismantle());
        boxherd_testkit::unmount_pool(self.data.path());
        dismantled.expect("no box is left");
        let left = boxherd_testkit::Leftovers::of_data(self.data.path());
        // A helper may still free what was large.
        let left = left.find_after(Duration::from_secs(20));
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}

/// Runs the suite with boxes that are held so. To be called while there is one thread.
#[allow(dead_code, reason = "each target has one of the two")]
pub(crate) fn run(isolation: Isolation) -> ExitCode {
    let helper = Helper::fork(2).expect("a helper");
    conformance::main(|| Ok(Arc::new(Local { data: data()?, helper, isolation })))
}

/// What has to do with disks.
const OF_DISKS: [&str; 5] =
    ["limits::a_full_disk_", "fork::", "snapshots::", "reopen::snapshots_", "crowd::"];

/// Runs the cases about disks, on a pool of their own. To be called while there is one thread.
#[allow(dead_code, reason = "each target has one of the two")]
pub(crate) fn run_on_a_pool() -> ExitCode {
    let helper = Helper::fork(2).expect("a helper");
    let of_disks = |case: &str| OF_DISKS.iter().any(|theme| case.starts_with(theme));
    conformance::main_of(of_disks, || {
        let local = Local { data: data()?, helper, isolation: Isolation::default() };
        prepare_loop_pool(local.data.path(), ByteSize::from_mib(1024)).map_err(|e| chain(&e))?;
        Ok(Arc::new(local))
    })
}

fn data() -> Result<tempfile::TempDir, String> {
    let data = tempfile::Builder::new().prefix("boxherd-conformance-").tempdir();
    data.map_err(|error| error.to_string())
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
