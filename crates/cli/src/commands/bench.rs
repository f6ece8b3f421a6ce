//! `boxherd bench`.

use boxherd_bench::{Context, Options, Report};

use crate::app::App;
use crate::args::BenchArgs;
use crate::failure::Failure;

/// Measures and prints what it found.
pub(super) async fn bench(app: &App, args: BenchArgs) -> Result<(), Failure> {
    let front = app.shared_herd().await?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::io("cannot find the program that runs", &error))?;
    let program = vec![program.into(), "--data".into(), app.data().into()];
    let options = Options {
        only: args.only,
        rounds: args.rounds,
        boxes: args.boxes,
        file_size: args.file_size.bytes(),
        peers: !args.no_peers,
        scratch: app.data().join("bench"),
    };
    let scratch = options.scratch.clone();
    let measured = boxherd_bench::run(options, Context { front, program }).await;
    // Empty but for what a contest that failed left, which is kept to be looked at.
    let removed = std::fs::remove_dir(&scratch);
    let report = measured.map_err(|error| Failure::new("bench", format!("{error:#}")))?;
    removed.map_err(|error| Failure::io(format!("`{}`", scratch.display()), &error))?;
    app.printer.result(&report, Report::table, |report| {
        report.contests.iter().map(|contest| contest.name.clone()).collect()
    })
}
