//! `boxherd connect`.

use crate::app::App;
use crate::args::ConnectArgs;
use crate::connect;
use crate::failure::Failure;

/// Answers requests on standard input until it ends.
pub(super) async fn connect(app: &App, args: ConnectArgs) -> Result<(), Failure> {
    // There is no other way yet; the flag keeps the name free for one.
    let ConnectArgs { stdio: _ } = args;
    connect::serve(app).await
}
