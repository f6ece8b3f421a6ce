//! `boxherd bench`.

mod delay;
mod lxd;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use boxherd_bench::{BrokenOff, Context, Options, Report};

use crate::app::App;
use crate::args::{BenchArgs, BenchCommand};
use crate::failure::Failure;
use crate::signals::{self, Signals};

/// When a run is broken off.
type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Measures; a signal that would end us breaks it off, and a second one ends us with boxes left.
async fn measure<R>(run: impl FnOnce(Stopped) -> R) -> Result<Report, Failure>
where
    R: Future<Output = boxherd_bench::Result>,
{
    let mut signals = Signals::take().map_err(|error| Failure::io("signals", &error))?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped: Stopped = Box::pin(async { drop(stopped.await) });
    let mut run = std::pin::pin!(run(stopped));
    let measured = tokio::select! {
        measured = &mut run => measured,
        () = end(&mut signals) => {
            drop(stop);
            tokio::select! {
                measured = run => measured,
                () = end(&mut signals) => Err(BrokenOff.into()),
            }
        }
    };
    measured.map_err(|error| match error.downcast_ref::<BrokenOff>() {
        Some(_) => Failure::new("interrupted", "interrupted while it measured"),
        None => Failure::new("bench", format!("{error:#}")),
    })
}

async fn end(signals: &mut Signals) {
    while !signals::ends(signals.next().await) {}
}

/// Measures and prints what it found.
pub(super) async fn bench(app: &App, args: BenchArgs) -> Result<(), Failure> {
    match args.command {
        Some(BenchCommand::Lxd(args)) => return lxd::lxd(app, args).await,
        Some(BenchCommand::Delay(args)) => return delay::delay(app, args).await,
        None => {}
    }
    let front = app.shared_herd().await?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::io("cannot find the program that runs", &error))?;
    let program = vec![program.into(), "--data".into(), app.data().into()];
    let scratch = scratch(app);
    let options = Options {
        only: args.only,
        rounds: args.rounds,
        boxes: args.boxes,
        idle: args.idle,
        file_size: args.file_size.bytes(),
        peers: !args.no_peers,
        scratch: scratch.clone(),
    };
    let context = Context { front, program };
    let run = |stopped| boxherd_bench::run(options, context, stopped);
    print(app, measure(run).await, &scratch)
}

/// A folder for whoever measures, on the filesystem on which boxes have their disks.
fn scratch(app: &App) -> PathBuf {
    let disks = Some(app.data().join("pool")).filter(|pool| pool.is_dir());
    disks.as_deref().unwrap_or(app.data()).join("bench")
}

fn print(app: &App, measured: Result<Report, Failure>, scratch: &Path) -> Result<(), Failure> {
    // Empty, or of others who measure at the same time.
    let removed = std::fs::remove_dir(scratch);
    let report = measured?;
    match removed {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
            return Err(Failure::io(format!("`{}`", scratch.display()), &error));
        }
        _ => {}
    }
    app.printer.result(&report, Report::table, |report| {
        report.contests.iter().map(|contest| contest.name.clone()).collect()
    })
}
