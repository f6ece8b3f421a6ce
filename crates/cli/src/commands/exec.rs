//! `boxherd exec`.

use std::process::ExitCode;

use boxherd_link::{ExecRequest, ExitStatus};
use boxherd_model::{Address, StopReason};

use super::create::variables;
use crate::app::App;
use crate::args::ExecArgs;
use crate::env;
use crate::failure::{AGENT, Failure, LINK_LOST};
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
    let ended = match app.boxes().await?.exec(address, request).await {
        Ok(process) => session.drive(process, signals).await,
        Err(failure) => Err(failure),
    };
    match ended {
        Err(failure) if matches!(failure.code(), Some(LINK_LOST | AGENT)) => {
            Err(why_lost(app, address, failure).await)
        }
        ended => ended,
    }
}

/// A link that was lost: where the box has stopped, that and why is what is to be told.
async fn why_lost(app: &App, address: &Address, lost: Failure) -> Failure {
    // What cannot be looked at leaves what is known: the link is lost.
    let stopped = match app.boxes().await {
        Ok(boxes) => boxes.show(address).await.ok().and_then(|status| status.reason),
        Err(_) => None,
    };
    let Some(reason) = stopped else { return lost };
    let told =
        Failure::new(LINK_LOST, format!("`{address}` stopped while the command ran: {reason}"));
    match reason {
        StopReason::Oom => told.hint("`--memory` of `create` and `run` says how much a box gets"),
        _ => told,
    }
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
