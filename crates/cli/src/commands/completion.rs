//! `boxherd completion`.

use clap::CommandFactory as _;

use crate::app::App;
use crate::args::{Cli, CompletionArgs};
use crate::failure::Failure;

/// Prints the script.
pub(super) fn completion(app: &App, args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "boxherd", &mut script);
    app.printer.bytes(&script)
}
