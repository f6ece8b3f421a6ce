//! One file per command: what it does with its arguments.

mod bench;
mod completion;
mod connect;
mod cp;
mod create;
mod disk;
mod doctor;
mod engine;
mod exec;
mod fork;
mod image;
mod key;
mod label;
mod logs;
mod ls;
mod netd;
mod port;
mod proxy;
mod rename;
mod rm;
mod run;
mod serve;
mod shell;
mod show;
mod snapshot;
mod state;
mod top;
mod user;

use std::future::Future;
use std::process::ExitCode;

use boxherd_model::Address;

use crate::app::App;
use crate::args::Command;
use crate::failure::Failure;

pub(crate) use netd::netd;
pub(crate) use show::Shown;

/// Does what was asked for.
pub(crate) async fn dispatch(app: &App, command: Command) -> Result<ExitCode, Failure> {
    if app.remote().is_some() {
        refuse_what_is_only_here(&command)?;
    }
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Run(args) => run::run(app, *args).await,
        Command::Exec(args) => exec::exec(app, args).await,
        Command::Shell(args) => shell::shell(app, args).await,
        Command::Doctor(args) => doctor::doctor(app, args).await,
        Command::Bench(args) => bench::bench(app, args).await.map(done),
        Command::Serve(args) => serve::serve(app, args).await.map(done),
        Command::Key(command) => key::key(app, command).await.map(done),
        Command::User(command) => user::user(app, command).await.map(done),
        Command::Create(args) => create::create(app, *args).await.map(done),
        Command::Ls(args) => ls::ls(app, args).await.map(done),
        Command::Top(args) => top::top(app, args).await.map(done),
        Command::Show(args) => show::show(app, args).await.map(done),
        Command::Rm(args) => rm::rm(app, args).await.map(done),
        Command::Start(args) => state::start(app, args).await.map(done),
        Command::Stop(args) => state::stop(app, args).await.map(done),
        Command::Restart(args) => state::restart(app, args).await.map(done),
        Command::Suspend(args) => state::suspend(app, args).await.map(done),
        Command::Resume(args) => state::resume(app, args).await.map(done),
        Command::Hibernate(args) => state::hibernate(app, args).await.map(done),
        Command::Fork(args) => fork::fork(app, args).await.map(done),
        Command::Snapshot(command) => snapshot::snapshot(app, command).await.map(done),
        Command::Rename(args) => rename::rename(app, args).await.map(done),
        Command::Label(args) => label::label(app, args).await.map(done),
        Command::Cp(args) => cp::cp(app, args).await.map(done),
        Command::Logs(args) => logs::logs(app, args).await.map(done),
        Command::Port(args) => port::port(app, args).await.map(done),
        Command::Proxy(command) => proxy::proxy(app, command).await.map(done),
        Command::Disk(command) => disk::disk(app, command).await.map(done),
        Command::Engine(command) => engine::engine(app, command).await.map(done),
        Command::Image(command) => image::image(app, command).await.map(done),
        Command::Connect(args) => connect::connect(app, args).await.map(done),
        Command::Completion(args) => completion::completion(app, &args).map(done),
        // Has an event loop of its own, and is started before ours.
        Command::Netd(_) => Ok(ExitCode::SUCCESS),
    }
}

/// What a server is not asked for. A variable that is set is no reason to do it here instead. Every
/// command is named, so that a new one is not done here by mistake.
fn refuse_what_is_only_here(command: &Command) -> Result<(), Failure> {
    let name = match command {
        Command::Doctor(_) => "doctor",
        Command::Bench(_) => "bench",
        Command::Serve(_) => "serve",
        Command::Engine(_) => "engine",
        Command::Connect(_) => "connect",
        Command::Run(_)
        | Command::Create(_)
        | Command::Ls(_)
        | Command::Show(_)
        | Command::Rm(_)
        | Command::Start(_)
        | Command::Stop(_)
        | Command::Restart(_)
        | Command::Suspend(_)
        | Command::Resume(_)
        | Command::Hibernate(_)
        | Command::Fork(_)
        | Command::Rename(_)
        | Command::Exec(_)
        | Command::Shell(_)
        | Command::Logs(_)
        | Command::Key(_)
        | Command::User(_)
        | Command::Image(_)
        | Command::Port(_)
        | Command::Snapshot(_)
        | Command::Label(_)
        | Command::Cp(_)
        | Command::Proxy(_)
        | Command::Disk(_)
        | Command::Top(_)
        | Command::Completion(_)
        | Command::Netd(_) => return Ok(()),
    };
    let hint = "run it on the server's machine, without `--server` and `BOXHERD_SERVER`";
    Err(Failure::usage(format!("`{name}` cannot be asked of a server")).hint(hint))
}

/// Does something with each box, whatever becomes of the others; every failure is told.
async fn each<'a, T, F>(
    app: &App,
    names: &'a [Address],
    mut act: impl FnMut(&'a Address) -> F,
) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut done = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match act(name).await {
            Ok(result) => done.push(result),
            Err(failure) => failures.push(failure),
        }
    }
    match failures.pop() {
        None => Ok(done),
        Some(last) if failures.is_empty() => Err(last),
        Some(last) => {
            failures.iter().chain([&last]).for_each(|failure| app.printer.failure(failure));
            Err(Failure::Quiet)
        }
    }
}
