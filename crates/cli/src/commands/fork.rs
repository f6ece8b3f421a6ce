//! `boxherd fork`.

use boxherd_herd::{Fork, Herd};
use boxherd_model::BoxName;

use crate::app::App;
use crate::args::ForkArgs;
use crate::failure::Failure;
use crate::render;

/// Copies a box and prints the names of the copies.
pub(super) async fn fork(app: &App, args: ForkArgs) -> Result<(), Failure> {
    let herd = app.herd().await?;
    let fork = Fork { names: names(herd, args.new, args.count)?, live: args.live };
    let made = herd.fork(&args.name, fork).await?;
    made.iter().for_each(|status| app.notes(status));
    render::created(&app.printer, &made)
}

fn names(herd: &Herd, new: Option<BoxName>, count: u16) -> Result<Vec<BoxName>, Failure> {
    match new {
        Some(name) if count == 1 => Ok(vec![name]),
        None => Ok((0..count).map(|_| herd.suggest_name()).collect()),
        Some(name) => {
            let numbered = (1..=count).map(|number| format!("{name}-{number}").parse());
            numbered
                .collect::<Result<_, _>>()
                .map_err(|error: boxherd_model::NameError| Failure::of(&error, "usage", None))
        }
    }
}
