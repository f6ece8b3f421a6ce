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
mod clock;
mod columns;
mod commands;
mod copy;
mod env;
mod failure;
mod printer;
mod progress;
mod render;
mod session;
mod signals;
mod streams;
mod terminal;

use std::process::ExitCode;

use boxherd_engine_local::Helper;
use clap::{CommandFactory as _, Parser as _};
use tracing::level_filters::LevelFilter;

use crate::app::App;
use crate::args::{Cli, Command};
use crate::failure::{Failure, OURS};
use crate::printer::Printer;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
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
        _ => {
            let forked = Helper::fork(1);
            Some(forked.map_err(|error| Failure::io("cannot start the helper process", &error))?)
        }
    };
    trace(cli.global.verbose);
    let app = App::new(&cli.global, printer, helper, works(&cli.command))?;
    if let Command::Netd(args) = &cli.command {
        return commands::netd(&app, args).map(|()| ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start an event loop", &error))?;
    let ended = runtime.block_on(async {
        let ended = commands::dispatch(&app, cli.command).await;
        app.close().await;
        ended
    });
    // What is left is memory and descriptors, which go with the process at once, and a thread that
    // may wait for ever for input that nobody wants any more.
    std::mem::forget((runtime, app));
    ended
}

/// Whether the engine has work of its own to do, besides giving links to agents.
fn works(command: &Command) -> bool {
    let connects = matches!(command, Command::Exec(_) | Command::Shell(_) | Command::Cp(_));
    !connects && !matches!(command, Command::Port(_) | Command::Netd(_) | Command::Completion(_))
}

/// Whether the exit code is that of a command in a box.
fn runs_a_command(command: &Command) -> bool {
    matches!(command, Command::Run(_) | Command::Exec(_) | Command::Shell(_))
}

/// Prints what clap has to say: help, the version, or a mistake. A mistake exits with 2, and with
/// 125 where any other number may be that of a command in a box.
fn usage(error: &clap::Error) -> ExitCode {
    if error.print().is_err() {
        // Whoever asked for help does not read it any more.
        return ExitCode::from(Failure::BrokenPipe.exit_code(1));
    }
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let lenient = Cli::command().ignore_errors(true).try_get_matches();
    let command = lenient.ok().and_then(|matches| matches.subcommand_name().map(str::to_owned));
    match command.as_deref() {
        Some("run" | "exec" | "shell") => ExitCode::from(OURS),
        _ => ExitCode::from(2),
    }
}

fn trace(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
}
