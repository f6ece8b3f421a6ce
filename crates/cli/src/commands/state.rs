//! `boxherd start`, `stop`, `restart`, `suspend`, `resume`, `hibernate`.

use super::each;
use crate::app::App;
use crate::args::{NamesArgs, StopArgs};
use crate::failure::Failure;
use crate::render;

pub(super) async fn stop(app: &App, args: StopArgs) -> Result<(), Failure> {
    let herd = app.herd().await?;
    let stop = async |name| Ok(herd.stop(name, args.grace).await?);
    let boxes = each(app, &args.boxes.names, stop).await?;
    render::changed(&app.printer, &boxes)
}

pub(super) async fn restart(app: &App, args: StopArgs) -> Result<(), Failure> {
    let herd = app.herd().await?;
    let restart = async |name| Ok(herd.restart(name, args.grace).await?);
    let boxes = each(app, &args.boxes.names, restart).await?;
    boxes.iter().for_each(|status| app.notes(status));
    render::changed(&app.printer, &boxes)
}

/// A command that asks the herd one thing of each box.
macro_rules! of_each {
    ($($command:ident)*) => {$(
        pub(super) async fn $command(app: &App, args: NamesArgs) -> Result<(), Failure> {
            let herd = app.herd().await?;
            let boxes = each(app, &args.names, async |name| Ok(herd.$command(name).await?)).await?;
            boxes.iter().for_each(|status| app.notes(status));
            render::changed(&app.printer, &boxes)
        }
    )*};
}

of_each!(start suspend resume hibernate);
