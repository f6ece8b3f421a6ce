//! `boxherd run`: a box for one command.

use std::process::ExitCode;

use boxherd_herd::{Create, Volume};
use boxherd_link::{ExecRequest, ExitStatus};
use boxherd_model::{Address, BoxSpec, BoxStatus};

use super::create::{one_engine, user_data, variables};
use super::exec::{code, login_shell, run_in};
use crate::app::App;
use crate::args::{NewName, RunArgs};
use crate::failure::Failure;
use crate::session::Session;
use crate::signals::Signals;

/// Makes a box, runs the command, and deletes the box whatever happened.
pub(super) async fn run(app: &App, mut args: RunArgs) -> Result<ExitCode, Failure> {
    // From here on no signal ends us before the box is deleted.
    let mut signals = Signals::take().map_err(|error| Failure::io("signals", &error))?;
    let session = Session::new(args.tty, args.timeout);
    let (on, name) = match args.name {
        Some(NewName { engine, name }) => (engine, name),
        None => (None, app.boxes().await?.suggest_name().await?),
    };
    let mut spec = BoxSpec::new(name);
    spec.ephemeral = !args.keep;
    spec.env.extend(variables(args.env)?);
    let engine = one_engine(on, args.flags.engine.clone())?;
    let volumes = std::mem::take(&mut args.flags.volumes).into_iter().map(Volume::from).collect();
    spec.cloud_init = user_data(args.flags.cloud_init.take())?;
    args.flags.apply(&mut spec).map_err(|error| Failure::of(&error, "usage", None))?;
    let given = (!args.cmd.is_empty()).then(|| ExecRequest::argv(args.cmd));
    let mut request = match given {
        Some(request) => request,
        None => match app.image(&spec.image, engine.as_ref()).await? {
            Some(info) if !info.program.is_empty() => ExecRequest::argv(info.program),
            _ => login_shell(),
        },
    };
    request.timeout = args.timeout;
    let made = make(app, Create { engine, volumes, ..spec.into() }, &mut signals).await?;
    app.notes(&made);
    let address =
        Address { engine: Some(made.engine.clone()), target: boxherd_model::Target::Id(made.id) };
    let ended = run_in(app, &address, request, session, &mut signals).await;
    if args.keep {
        return ended.map(code);
    }
    delete(app, &address, ended).await
}

/// Making a box is quick and cannot be left half-way, but for a pull that may take minutes: a
/// signal is remembered, and a second one ends us. What is then half made, the next command removes.
async fn make(app: &App, create: Create, signals: &mut Signals) -> Result<BoxStatus, Failure> {
    let interrupted = || Failure::new("interrupted", "interrupted while the box was made");
    let mut making = std::pin::pin!(app.create(create));
    tokio::select! {
        made = &mut making => return made,
        _ = signals.next() => {}
    }
    tokio::select! {
        made = making => {
            let made = made?;
            app.boxes().await?.delete(&Address { engine: None, target: boxherd_model::Target::Id(made.id) }).await?;
            Err(interrupted())
        }
        _ = signals.next() => Err(interrupted()),
    }
}

/// Deletes the box. When that fails, it is told, and the command's own code is kept unless it is 0:
/// whoever sees a 0 may rely on nothing being left, and any other code says more than ours.
async fn delete(
    app: &App,
    address: &Address,
    ended: Result<ExitStatus, Failure>,
) -> Result<ExitCode, Failure> {
    let deleted = app.boxes().await?.delete(address).await;
    match (ended, deleted) {
        (ended, Ok(())) => ended.map(code),
        (Ok(status), Err(error)) if status.success() => Err(error),
        (ended, Err(error)) => {
            app.printer.failure(&error);
            ended.map(code)
        }
    }
}
