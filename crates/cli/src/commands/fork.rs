//! `boxherd fork`.

use boxherd_model::BoxName;

use crate::app::App;
use crate::args::ForkArgs;
use crate::boxes::Boxes;
use crate::failure::Failure;
use crate::render;

/// Copies a box and prints the names of the copies.
pub(super) async fn fork(app: &App, args: ForkArgs) -> Result<(), Failure> {
    let boxes = app.boxes().await?;
    let names = names(boxes, args.new, args.count).await?;
    let made = boxes.fork(&args.name, names, args.live).await?;
    made.iter().for_each(|status| app.notes(status));
    render::created(&app.printer, &made)
}

async fn names(
    boxes: Boxes<'_>,
    new: Option<BoxName>,
    count: u16,
) -> Result<Vec<BoxName>, Failure> {
    match new {
        Some(name) if count == 1 => Ok(vec![name]),
        None => {
            let mut names = Vec::new();
            for _ in 0..count {
                names.push(boxes.suggest_name().await?);
            }
            Ok(names)
        }
        Some(name) => {
            let numbered = (1..=count).map(|number| format!("{name}-{number}").parse());
            numbered
                .collect::<Result<_, _>>()
                .map_err(|error: boxherd_model::NameError| Failure::of(&error, "usage", None))
        }
    }
}
