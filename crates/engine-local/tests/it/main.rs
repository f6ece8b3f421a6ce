//! Boxes on this machine, for real: needs root.
//!
//! `main` makes the helper while there is one thread, which a test harness of its own allows.

mod memory;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use boxherd_engine::{Child, Engine, EngineError};
use boxherd_engine_local::{Helper, LocalEngine};
use boxherd_link::{ExecRequest, Link};
use boxherd_model::{BoxId, BoxSpec};
use libtest_mimic::{Arguments, Failed, Trial};

/// How long the kernel may take on a busy machine to take away what goes by itself.
const PATIENCE: Duration = Duration::from_secs(20);

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn open(data: &Path, helper: &Helper) -> LocalEngine {
    LocalEngine::open("local".parse().unwrap(), data, helper.clone()).unwrap()
}

async fn a_box_runs_a_command_and_leaves_nothing(engine: LocalEngine, _data: PathBuf) -> Outcome {
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

/// The first process of a box is made beside the rest; when the rest cannot be made, it goes.
async fn a_box_that_cannot_be_made_leaves_no_process(
    engine: LocalEngine,
    data: PathBuf,
) -> Outcome {
    let before = processes_of_helpers()?;
    let id = BoxId::new();
    let layers = data.join("layers");
    fs::create_dir_all(&layers)?;
    fs::write(layers.join(id.to_string()), "in the way")?;
    let launched = engine.launch(id, &BoxSpec::new("never".parse()?)).await;
    let refused = launched.expect_err("its layer cannot be made");
    assert!(!matches!(refused, EngineError::NoSuchBox(_)), "{refused}");
    let begun = Instant::now();
    while processes_of_helpers()? != before {
        assert!(begun.elapsed() < PATIENCE, "a process is left that waits to become a box");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    engine.delete(id).await?;
    Ok(())
}

/// What the helpers of this process have made and still have.
fn processes_of_helpers() -> io::Result<BTreeSet<u32>> {
    let children = |parent: u32| -> io::Result<Vec<u32>> {
        let listed = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        Ok(listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    };
    let helpers = children(std::process::id())?;
    helpers
        .into_iter()
        .map(children)
        .collect::<io::Result<Vec<_>>>()
        .map(|all| all.concat().into_iter().collect())
}

/// Its root does not have to reach the disk, which leaves a mark that the kernel mounts no more; the
/// mark is not in the way of another start, nor of a copy that stays.
async fn a_passing_box_starts_again_and_is_copied(engine: LocalEngine, data: PathBuf) -> Outcome {
    let (id, copy) = (BoxId::new(), BoxId::new());
    let mut spec = BoxSpec::new("passing".parse()?);
    spec.ephemeral = true;
    engine.create(id, &spec).await?;
    engine.start(id).await?;
    say(&engine, id, "echo kept > /root/file; sync").await?;
    let mark = data.join("layers").join(id.to_string()).join("work/work/incompat/volatile");
    assert!(mark.exists(), "the box is not mounted as one that passes");
    let kept = BoxSpec::new("kept".parse()?);
    engine.fork(id, &[Child { id: copy, spec: kept }]).await?;
    engine.stop(id, Duration::ZERO).await?;
    for id in [id, copy] {
        engine.start(id).await?;
        assert_eq!(say(&engine, id, "cat /root/file").await?, "kept\n");
        engine.delete(id).await?;
    }
    Ok(())
}

/// What a line writes in a box.
async fn say(engine: &LocalEngine, id: BoxId, line: &str) -> Outcome<String> {
    let link = Link::open(engine.connect(id).await?).await?;
    let done = link.exec(ExecRequest::shell(line)).await?.collect(Default::default(), 4096).await?;
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout.into())?)
}

/// What a test that failed half-way has left.
async fn delete_all(engine: &LocalEngine) -> Outcome {
    for truth in Engine::list(engine).await? {
        engine.delete(truth.id).await?;
    }
    Ok(())
}

/// A test in a data folder of its own, which leaves nothing behind.
fn trial<F>(name: &str, helper: &Helper, run: fn(LocalEngine, PathBuf) -> F) -> Trial
where
    F: Future<Output = Outcome> + 'static,
{
    let helper = helper.clone();
    Trial::test(name, move || {
        let folder = tempfile::tempdir().map_err(Failed::from)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let engine = open(folder.path(), &helper);
        let marker = boxherd_testkit::Leftovers::of_data(folder.path());
        let run = || runtime.block_on(run(engine.clone(), folder.path().to_owned()));
        let result = catch_unwind(AssertUnwindSafe(run));
        runtime.block_on(delete_all(&engine)).map_err(Failed::from)?;
        engine.dismantle().map_err(Failed::from)?;
        result.unwrap_or_else(|panic| resume_unwind(panic)).map_err(Failed::from)?;
        // The kernel takes the device of a box that ended by itself away when it comes to it.
        assert_eq!(marker.find_after(PATIENCE), Vec::<String>::new());
        Ok(())
    })
}

fn main() -> ExitCode {
    let helper = Helper::fork(2).expect("a helper");
    let arguments = Arguments::from_args();
    if !boxherd_testkit::root_or_skip("engine-local") {
        return ExitCode::SUCCESS;
    }
    macro_rules! trials {
        ($($path:path),+ $(,)?) => { vec![$(trial(stringify!($path), &helper, $path)),+] };
    }
    let trials = trials![
        a_box_runs_a_command_and_leaves_nothing,
        a_box_that_cannot_be_made_leaves_no_process,
        a_passing_box_starts_again_and_is_copied,
        memory::hogs_end_with_their_boxes,
        memory::a_closed_link_and_the_engine_agree,
        memory::a_shortage_around_boxes_ends_the_one_it_hits,
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
