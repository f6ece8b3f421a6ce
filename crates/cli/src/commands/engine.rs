//! `boxherd engine`.

use boxherd_engine::{Check, Verdict};
use boxherd_model::EngineName;
use serde::Serialize;

use crate::app::App;
use crate::args::{EngineAddArgs, EngineArgs, EngineCommand};
use crate::columns::table;
use crate::engines::{self, Kind, Known};
use crate::failure::Failure;

/// An engine, as it is listed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    endpoints: Vec<String>,
    project: Option<String>,
    image: Option<String>,
    pool: Option<String>,
}

/// Everything about engines.
pub(super) async fn engine(app: &App, command: EngineCommand) -> Result<(), Failure> {
    match command {
        EngineCommand::Add(args) => add(app, args).await,
        EngineCommand::Ls => ls(app),
        EngineCommand::Check(args) => check(app, args).await,
        EngineCommand::Rm(args) => engines::remove(app.data(), &args.name),
    }
}

async fn add(app: &App, args: EngineAddArgs) -> Result<(), Failure> {
    let EngineAddArgs { name, lxd, incus, project, image, pool } = args;
    if name == EngineName::local() {
        return Err(
            Failure::usage("`local` is the engine of this machine").hint("call it something else")
        );
    }
    let (kind, endpoints) = if incus.is_empty() { (Kind::Lxd, lxd) } else { (Kind::Incus, incus) };
    let project = project.unwrap_or_else(|| "default".to_owned());
    let known = Known { kind, endpoints, project, image, pool };
    // What does not answer, or does not trust us, is not kept.
    known.open(name.clone(), &app.installation().await?)?.server().await?;
    engines::add(app.data(), &name, &known)?;
    app.printer.result(&name, |name| format!("{name}\n"), |name| vec![name.to_string()])
}

fn ls(app: &App) -> Result<(), Failure> {
    let local = Row {
        name: EngineName::local().to_string(),
        kind: "local",
        endpoints: Vec::new(),
        project: None,
        image: None,
        pool: None,
    };
    let known = engines::all(app.data())?.into_iter().map(|(name, known)| Row {
        name: name.to_string(),
        kind: known.kind.as_str(),
        endpoints: known.endpoints,
        project: Some(known.project),
        image: known.image.map(|image| image.to_string()),
        pool: known.pool,
    });
    let rows: Vec<_> = [local].into_iter().chain(known).collect();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let line = |row: &Row| {
        let at = if row.endpoints.is_empty() { "-".to_owned() } else { row.endpoints.join(" ") };
        [row.name.clone(), row.kind.to_owned(), at, text(&row.project), text(&row.image)]
    };
    app.printer.names_only(true).result(
        &rows,
        |rows| {
            let lines: Vec<_> = rows.iter().map(line).collect();
            table(["NAME", "KIND", "AT", "PROJECT", "IMAGE"], &lines)
        },
        |rows| rows.iter().map(|row| row.name.clone()).collect(),
    )
}

async fn check(app: &App, args: EngineArgs) -> Result<(), Failure> {
    let checks = app.engine(Some(&args.name)).await?.checks().await;
    let line = |check: &Check| {
        let verdict = match check.verdict {
            Verdict::Works => "works",
            Verdict::Missing => "missing",
            Verdict::Broken => "broken",
        };
        [check.name.clone(), verdict.to_owned(), check.found.clone()]
    };
    let lines: Vec<_> = checks.iter().map(line).collect();
    app.printer.result(
        &checks,
        |_| table(["WHAT", "HOW", "FOUND"], &lines),
        |checks| checks.iter().map(|check| check.name.clone()).collect(),
    )?;
    match checks.iter().find(|check| check.verdict == Verdict::Broken) {
        None => Ok(()),
        Some(broken) => {
            let failure = Failure::new("broken", format!("`{}` does not work", args.name));
            Err(match &broken.fix {
                Some(fix) => failure.hint(fix),
                None => failure,
            })
        }
    }
}
