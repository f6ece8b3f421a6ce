//! `boxherd start`, `stop`, `restart`, `suspend`, `resume`, `hibernate`.

use super::each;
use crate::app::App;
use crate::args::{NamesArgs, StopArgs};
use crate::failure::Failure;
use crate::remote::Change;
use crate::render;

pub(super) async fn stop(app: &App, args: StopArgs) -> Result<(), Failure> {
    let boxes = app.boxes().await?;
    let stop = async |name| boxes.change(name, Change::Stop(args.grace)).await;
    let boxes = each(app, &args.boxes.names, stop).await?;
    render::changed(&app.printer, &boxes)
}

pub(super) async fn restart(app: &App, args: StopArgs) -> Result<(), Failure> {
    let boxes = app.boxes().await?;
    let restart = async |name| boxes.change(name, Change::Restart(args.grace)).await;
    let boxes = each(app, &args.boxes.names, restart).await?;
    boxes.iter().for_each(|status| app.notes(status));
    render::changed(&app.printer, &boxes)
}

/// A command that asks one thing of each box.
macro_rules! of_each {
    ($($command:ident: $change:ident)*) => {$(
        pub(super) async fn $command(app: &App, args: NamesArgs) -> Result<(), Failure> {
            let boxes = app.boxes().await?;
            let change = async |name| boxes.change(name, Change::$change).await;
            let boxes = each(app, &args.names, change).await?;
            boxes.iter().for_each(|status| app.notes(status));
            render::changed(&app.printer, &boxes)
        }
    )*};
}

of_each!(start: Start suspend: Suspend resume: Resume hibernate: Hibernate);
