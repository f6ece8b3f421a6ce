//! Boxes on this machine, for real: needs root.
//!
//! `main` makes the helper while there is one thread, which a test harness of its own allows.

use std::path::Path;
use std::process::ExitCode;

use boxherd_engine::Engine;
use boxherd_engine_local::{Helper, LocalEngine};
use boxherd_link::{ExecRequest, Link};
use boxherd_model::{BoxId, BoxSpec};
use libtest_mimic::{Arguments, Failed, Trial};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn open(data: &Path, helper: &Helper) -> LocalEngine {
    LocalEngine::open("local".parse().unwrap(), data, helper.clone()).unwrap()
}

async fn a_box_runs_a_command_and_leaves_nothing(engine: LocalEngine) -> Outcome {
    let id = BoxId::new();
    let spec = BoxSpec::new("first".parse()?);
    let made = engine.create(id, &spec).await?;
    let running = engine.start(id).await?;
    println!("{:?}\n{:?}\n{:?}", made.timings, running.timings, running.notes);
    let link = Link::open(engine.connect(id).await?).await?;
    let line = "hostname; id -u; cat /proc/self/status | grep -i cap; ls -la / /dev /etc; cat /proc/self/cgroup /proc/mounts; ip a; ps ax";
    let done =
        link.exec(ExecRequest::shell(line)).await?.collect(Default::default(), 1 << 20).await?;
    println!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    engine.delete(id).await?;
    assert_eq!(engine.inspect(id).await?, None);
    Ok(())
}

fn main() -> ExitCode {
    let helper = Helper::fork(2).expect("a helper");
    let arguments = Arguments::from_args();
    if !boxherd_testkit::root_or_skip("engine-local") {
        return ExitCode::SUCCESS;
    }
    let trial = {
        Trial::test("a_box_runs_a_command_and_leaves_nothing", move || {
            let folder = tempfile::tempdir().map_err(Failed::from)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let engine = open(folder.path(), &helper);
            let marker = boxherd_testkit::Leftovers::of_data(folder.path());
            let result = runtime.block_on(a_box_runs_a_command_and_leaves_nothing(engine.clone()));
            engine.dismantle().map_err(Failed::from)?;
            assert_eq!(marker.find(), Vec::<String>::new());
            result.map_err(Failed::from)
        })
    };
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}
