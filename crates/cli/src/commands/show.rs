//! `boxherd show`.

use boxherd_engine::Usage;
use boxherd_model::BoxStatus;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::args::NameArgs;
use crate::failure::Failure;
use crate::render;

/// Everything about a box.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// What is kept and what is true.
    #[serde(flatten)]
    pub(crate) status: BoxStatus,
    /// What it uses; only of a box that is there.
    pub(crate) usage: Option<Usage>,
}

/// Shows a box.
pub(super) async fn show(app: &App, args: NameArgs) -> Result<(), Failure> {
    render::shown(&app.printer, &app.boxes().await?.shown(&args.name).await?)
}
