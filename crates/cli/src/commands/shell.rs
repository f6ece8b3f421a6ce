//! `boxherd shell`.

use std::process::ExitCode;

use super::exec::{code, login_shell, run_in};
use crate::app::App;
use crate::args::{ShellArgs, TtyFlags};
use crate::failure::Failure;
use crate::session::Session;
use crate::signals::Signals;
use crate::terminal;

/// Opens a login shell, on a terminal when there is one here.
pub(super) async fn shell(app: &App, args: ShellArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::take().map_err(|error| Failure::io("signals", &error))?;
    let flags = TtyFlags { interactive: true, tty: terminal::input_is_terminal() };
    let mut request = login_shell();
    request.user = args.user;
    run_in(app, &args.name, request, Session::new(flags, None), &mut signals).await.map(code)
}
