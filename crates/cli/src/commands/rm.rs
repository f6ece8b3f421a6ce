//! `boxherd rm`.

use boxherd_model::{Address, BoxState};

use super::each;
use crate::app::App;
use crate::args::RmArgs;
use crate::failure::Failure;

/// Deletes boxes.
pub(super) async fn rm(app: &App, args: RmArgs) -> Result<(), Failure> {
    each(app, &args.boxes.names, |name| delete(app, name, args.force)).await.map(|_| ())
}

async fn delete(app: &App, name: &Address, force: bool) -> Result<(), Failure> {
    let boxes = app.boxes().await?;
    if !force {
        let state = boxes.show(name).await?.state;
        if matches!(state, BoxState::Running | BoxState::Starting | BoxState::Suspended) {
            return Err(Failure::new("not-stopped", format!("`{name}` is {state}"))
                .hint("stop it first, or use `rm --force`"));
        }
    }
    boxes.delete(name).await
}
