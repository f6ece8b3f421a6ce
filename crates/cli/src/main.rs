//! `boxherd`: the command line, where everything is put together.
//!
//! `args/` says what can be typed and does nothing; `commands/` has one file per command and asks
//! the herd; `app.rs` opens engines and store when a command needs them. The terminal is reached
//! through `printer`, `streams`, `terminal` and `progress`, the environment through `env`, the clock
//! through `clock`, and nothing else goes around them.
//!
//! Start reading in [`main`], then `app.rs`, then `commands/run.rs`.

mod app;
mod args;
mod boxes;
mod clock;
mod columns;
mod commands;
mod connect;
mod copy;
mod engines;
mod env;
mod failure;
mod printer;
mod process;
mod progress;
mod remote;
mod render;
mod session;
mod signals;
mod store;
mod streams;
mod telemetry;
mod terminal;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use boxherd_engine_local::Helper;
use clap::Parser as _;

use crate::app::App;
use crate::args::{Cli, Command};
use crate::failure::{Failure, OURS};
use crate::printer::Printer;

/// How long half an image may take to be removed; the next command on images removes the rest.
const CLEANING: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::tell(&error),
    };
    let printer = Printer::new(&cli.global);
    let told = if runs_a_command(&cli.command) { OURS } else { 1 };
    start(cli, printer).unwrap_or_else(|failure| {
        printer.failure(&failure);
        ExitCode::from(failure.exit_code(told))
    })
}

fn start(cli: Cli, printer: Printer) -> Result<ExitCode, Failure> {
    // Before anything that starts a thread: the helper is a copy of this process.
    let helper = match cli.command {
        Command::Completion(_) | Command::Netd(_) => None,
        _ if cli.global.server.as_ref().is_some_and(|url| !url.is_empty()) => None,
        _ => {
            let forked = Helper::fork(1);
            Some(forked.map_err(|error| Failure::io("cannot start the helper process", &error))?)
        }
    };
    let serve = match &cli.command {
        Command::Serve(args) => Some(args),
        _ => None,
    };
    let mut builder = match serve {
        Some(_) => tokio::runtime::Builder::new_multi_thread(),
        None => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start an event loop", &error))?;
    let telemetry = {
        let _entered = runtime.enter();
        telemetry::begin(cli.global.verbose, serve)?
    };
    let app = App::new(&cli.global, printer, helper, works(&cli.command))?;
    if let Command::Netd(args) = &cli.command {
        return commands::netd(&app, args).map(|()| ExitCode::SUCCESS);
    }
    let unpacks = matches!(cli.command, Command::Image(_));
    let ended = runtime.block_on(async {
        let ended = commands::dispatch(&app, cli.command).await;
        app.close().await;
        ended
    });
    telemetry.end();
    if unpacks {
        // A thread may be removing what it was interrupted at.
        runtime.shutdown_timeout(CLEANING);
    } else {
        // What is left is memory and descriptors, which go with the process at once, and a thread
        // that may wait for ever for input that nobody wants any more.
        std::mem::forget((runtime, app));
    }
    ended
}

/// Whether the engine has work of its own to do, besides giving links to agents.
fn works(command: &Command) -> bool {
    let connects = matches!(
        command,
        Command::Exec(_) | Command::Shell(_) | Command::Cp(_) | Command::Connect(_)
    );
    !connects && !matches!(command, Command::Port(_) | Command::Netd(_) | Command::Completion(_))
}

/// Whether the exit code is that of a command in a box.
fn runs_a_command(command: &Command) -> bool {
    matches!(command, Command::Run(_) | Command::Exec(_) | Command::Shell(_))
}
