//! `boxherd rename`.

use crate::app::App;
use crate::args::RenameArgs;
use crate::failure::Failure;
use crate::remote::Change;
use crate::render;

/// Gives a box another name.
pub(super) async fn rename(app: &App, args: RenameArgs) -> Result<(), Failure> {
    let status = app.boxes().await?.change(&args.name, Change::Rename(args.new)).await?;
    render::changed(&app.printer, &[status])
}
