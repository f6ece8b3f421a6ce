//! `boxherd label`.

use boxherd_model::Labels;

use crate::app::App;
use crate::args::{LabelArgs, LabelChange};
use crate::failure::Failure;
use crate::render;

/// Sets and removes labels.
pub(super) async fn label(app: &App, args: LabelArgs) -> Result<(), Failure> {
    let (mut set, mut remove) = (Labels::new(), Vec::new());
    for change in args.changes {
        match change {
            LabelChange::Set(key, value) => drop(set.insert(key, value)),
            LabelChange::Remove(key) => remove.push(key),
        }
    }
    let status = app.boxes().await?.label(&args.name, set, remove).await?;
    render::changed(&app.printer, &[status])
}
