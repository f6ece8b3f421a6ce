//! `boxherd rename`.

use crate::app::App;
use crate::args::RenameArgs;
use crate::failure::Failure;
use crate::render;

/// Gives a box another name.
pub(super) async fn rename(app: &App, args: RenameArgs) -> Result<(), Failure> {
    let status = app.herd().await?.rename(&args.name, args.new).await?;
    render::changed(&app.printer, &[status])
}
