//! Runs cases: each on a runtime of its own, with everything it made deleted afterwards.

use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use super::{Case, Need, Outcome, Stage, Subject, cases, needs};
use crate::EngineError;

/// A case that takes longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a case.
#[derive(Debug)]
pub enum Report {
    /// It held.
    Passed,
    /// The engine lacks what the case needs.
    Skipped(Need),
}

/// The `main` of a test target with `harness = false`. Understands the arguments of `cargo test`
/// and nextest. `open` is called at most once, before this function starts any thread; not when
/// the cases are only listed.
pub fn main(open: impl FnOnce() -> Result<Arc<dyn Subject>, String>) -> ExitCode {
    main_of(|_| true, open)
}

/// The same for the cases whose names `wanted` says yes to: for an engine that has passed them all
/// and has something else underneath, which only some cases can tell.
pub fn main_of(
    wanted: impl Fn(&str) -> bool,
    open: impl FnOnce() -> Result<Arc<dyn Subject>, String>,
) -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = cases().into_iter().filter(|case| wanted(&case.name));
    if arguments.list {
        let listed = cases.map(|case| Trial::test(case.name, || Ok(()))).collect();
        return libtest_mimic::run(&arguments, listed).exit_code();
    }
    let subject = match open() {
        Ok(subject) => subject,
        Err(why) => {
            eprintln!("the engine cannot be opened: {why}");
            return ExitCode::FAILURE;
        }
    };
    let trials = cases.map(|case| trial(case, Arc::clone(&subject))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(case: Case, subject: Arc<dyn Subject>) -> Trial {
    let name = case.name.clone();
    Trial::test(name, move || match run(&case, &subject) {
        Ok(Report::Passed) => Ok(()),
        Ok(Report::Skipped(need)) => {
            subject.skipped(&case.name, need);
            Ok(())
        }
        Err(error) => Err(Failed::from(chain(error.as_ref()))),
    })
}

/// Runs one case against `subject`.
///
/// # Errors
///
/// What the case or its clean-up ran into.
///
/// # Panics
///
/// When an assertion of the case does not hold.
pub fn run(
    case: &Case,
    subject: &Arc<dyn Subject>,
) -> Result<Report, Box<dyn std::error::Error + Send + Sync>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stage = Arc::new(Stage::new(Arc::clone(subject)).await?);
        let lacking = needs(&case.name).into_iter().find(|need| !stage.meets(*need));
        if let Some(need) = lacking {
            return Ok(Report::Skipped(need));
        }
        // A task of its own, so that a panic does not jump over the clean-up.
        let acting = tokio::spawn(act((case.run)(Arc::clone(&stage)), subject.patience()));
        let outcome = acting.await;
        let cleaned = stage.clean_up().await;
        match outcome {
            Ok(outcome) => outcome?,
            Err(failed) => resume_unwind(failed.into_panic()),
        }
        cleaned?;
        Ok(Report::Passed)
    })
}

async fn act(case: impl Future<Output = Outcome>, patience: Duration) -> Outcome {
    let timed_out = |_| format!("it did not end within {} s", patience.as_secs());
    tokio::time::timeout(patience, case).await.map_err(timed_out)?
}

/// An error with its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if let Some(hint) = error.downcast_ref::<EngineError>().and_then(EngineError::hint) {
        text.push_str("; hint: ");
        text.push_str(hint);
    }
    text
}
