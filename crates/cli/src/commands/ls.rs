//! `boxherd ls`.

use crate::app::App;
use crate::args::LsArgs;
use crate::failure::Failure;
use crate::render;

/// Lists boxes; an engine that does not answer is a note and not a failure.
pub(super) async fn ls(app: &App, args: LsArgs) -> Result<(), Failure> {
    let (mut boxes, unreachable) = app.boxes().await?.list().await?;
    unreachable.iter().for_each(|told| app.printer.note(told));
    boxes.retain(|status| args.labels.iter().all(|label| label.selects(&status.spec.labels)));
    boxes.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    render::list(&app.printer, &boxes)
}
