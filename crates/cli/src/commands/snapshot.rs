//! `boxherd snapshot`.

use boxherd_model::{Address, SnapshotInfo};

use crate::app::App;
use crate::args::SnapshotCommand;
use crate::clock;
use crate::columns::table;
use crate::failure::Failure;
use crate::render;

/// Everything about snapshots.
pub(super) async fn snapshot(app: &App, command: SnapshotCommand) -> Result<(), Failure> {
    let boxes = app.boxes().await?;
    match command {
        SnapshotCommand::Create(args) => {
            let taken = boxes.take_snapshot(&args.name, &args.snapshot).await?;
            let name = |taken: &SnapshotInfo| taken.name.to_string();
            app.printer.result(
                &taken,
                |taken| format!("{}\n", name(taken)),
                |taken| vec![name(taken)],
            )
        }
        SnapshotCommand::Restore(args) => {
            let restored = boxes.restore_snapshot(&args.name, &args.snapshot).await?;
            render::changed(&app.printer, &[restored])
        }
        SnapshotCommand::Rm(args) => boxes.remove_snapshot(&args.name, &args.snapshot).await,
        SnapshotCommand::Ls(args) => ls(app, &args.name).await,
    }
}

async fn ls(app: &App, address: &Address) -> Result<(), Failure> {
    let snapshots = app.boxes().await?.snapshots(address).await?;
    let row = |info: &SnapshotInfo| [info.name.to_string(), clock::age(info.created, clock::now())];
    app.printer.names_only(true).result(
        &snapshots,
        |all| table(["NAME", "AGE"], &all.iter().map(row).collect::<Vec<_>>()),
        |all| all.iter().map(|info| info.name.to_string()).collect(),
    )
}
