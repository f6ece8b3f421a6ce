//! Boxes for a program that is not ours: one process, many requests at once, over standard streams.
//!
//! `frame` and `request` are pure: bytes to frames, frames to what is asked for. `table` is the loop
//! that owns every request that runs; `exec` and `files` are the requests that take a while, `quick`
//! those that are answered at once. The protocol is specified in `docs/connect.md`, the reasons for
//! it are in `docs/design/0015-connect.md`.
//!
//! Start reading in `table.rs`.

mod answer;
mod exec;
mod files;
mod frame;
mod quick;
mod request;
mod table;
mod window;

use std::sync::Arc;

use boxherd_herd::Herd;

use crate::app::App;
use crate::engines;
use crate::failure::Failure;
use answer::Answers;
use table::Table;

/// The protocol that is spoken, as `hello` answers it.
const PROTOCOL: u32 = 1;

/// What requests are answered from. Cheap to clone.
#[derive(Debug, Clone)]
struct Desk {
    herd: Arc<Herd>,
    /// Names and kinds, this machine's first.
    engines: Arc<[(String, &'static str)]>,
    answers: Answers,
}

/// Answers requests on standard input until it ends or a signal ends us. What was begun is then ended.
pub(crate) async fn serve(app: &App) -> Result<(), Failure> {
    let herd = app.shared_herd().await?;
    let mut known = vec![("local".to_owned(), "local")];
    for engine in engines::all(app.data())? {
        known.push((engine.name.to_string(), engine.known.kind.as_str()));
    }
    let (answers, written) = answer::open();
    Table::new(Desk { herd, engines: known.into(), answers }).run(written).await
}
