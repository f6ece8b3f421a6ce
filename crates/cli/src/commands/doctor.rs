//! `boxherd doctor`.

use std::process::ExitCode;

use boxherd_engine::{Check, Verdict};

use crate::app::App;
use crate::args::DoctorArgs;
use crate::columns::table;
use crate::failure::Failure;

/// Says what works, what does not, and the fix.
pub(super) async fn doctor(app: &App, args: DoctorArgs) -> Result<ExitCode, Failure> {
    if args.fix {
        app.prepare_pool(args.pool).await?;
    }
    let checks = app.checks().await?;
    app.printer.result(
        &checks,
        |checks| report(checks),
        |checks| checks.iter().map(|check| check.name.clone()).collect(),
    )?;
    let broken = checks.iter().any(|check| check.verdict == Verdict::Broken);
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(checks: &[Check]) -> String {
    let verdict = |verdict| match verdict {
        Verdict::Works => "works",
        Verdict::Missing => "missing",
        Verdict::Broken => "BROKEN",
    };
    let row = |check: &Check| {
        [check.name.clone(), verdict(check.verdict).to_owned(), check.found.clone()]
    };
    let mut text =
        table(["CHECK", "VERDICT", "FOUND"], &checks.iter().map(row).collect::<Vec<_>>());
    let mut fixes: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in checks {
        let Some(fix) = &check.fix else { continue };
        match fixes.iter_mut().find(|(known, _)| known == fix) {
            Some((_, names)) => names.push(&check.name),
            None => fixes.push((fix, vec![&check.name])),
        }
    }
    for (fix, names) in fixes {
        text.push_str(&format!("\n{}: {fix}\n", names.join(", ")));
    }
    text
}
