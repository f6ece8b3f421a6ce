//! `boxherd exec`.

use std::process::ExitCode;

use boxherd_link::{ExecRequest, ExitStatus};
use boxherd_model::Address;

use super::create::variables;
use crate::app::App;
use crate::args::ExecArgs;
use crate::env;
use crate::failure::Failure;
use crate::session::Session;
use crate::signals::Signals;

/// Runs a command in a box that exists.
pub(super) async fn exec(app: &App, args: ExecArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::take().map_err(|error| Failure::io("signals", &error))?;
    let session = Session::new(args.tty, args.timeout);
    let mut request = ExecRequest::argv(args.cmd);
    request.env = variables(args.env)?;
    request.workdir = args.workdir;
    request.user = args.user;
    request.timeout = args.timeout;
    run_in(app, &args.name, request, session, &mut signals).await.map(code)
}

/// Runs `request` in the box at `address`, connected as `session` says.
pub(super) async fn run_in(
    app: &App,
    address: &Address,
    mut request: ExecRequest,
    session: Session,
    signals: &mut Signals,
) -> Result<ExitStatus, Failure> {
    request.stdin = session.stdin;
    request.pty = session.pty;
    if session.pty.is_some()
        && !request.env.iter().any(|(key, _)| key == "TERM")
        && let Some(term) = env::text("TERM")
    {
        request.env.push(("TERM".to_owned(), term));
    }
    let process = app.boxes().await?.exec(address, request).await?;
    session.drive(process, signals).await
}

/// A login shell of the box: bash when there is one.
pub(super) fn login_shell() -> ExecRequest {
    let line = "command -v bash >/dev/null && exec bash -l; exec sh -l";
    ExecRequest::argv(["/bin/sh", "-c", line])
}

/// What we exit with when a command ended so.
pub(super) fn code(status: ExitStatus) -> ExitCode {
    // `shell_code` is 0 to 255.
    ExitCode::from(u8::try_from(status.shell_code()).unwrap_or(crate::failure::OURS))
}
