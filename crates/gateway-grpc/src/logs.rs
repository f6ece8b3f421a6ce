//! The console of a box as a stream.

use boxherd_boxd_api::{LogChunk, StreamLogsRequest};
use boxherd_herd::{Follow, HerdError};
use futures_util::{Stream, StreamExt as _};
use tonic::Status;

use crate::desk::Desk;
use crate::status::status;

/// Everything that is there now and, when it is followed, what comes, until the box has stopped.
pub(crate) async fn stream(
    desk: &Desk<'_>,
    asked: StreamLogsRequest,
) -> Result<impl Stream<Item = Result<LogChunk, Status>> + Send + use<>, HerdError> {
    let address = desk.address("vm_id", &asked.vm_id)?;
    let follow = if asked.follow { Follow::UntilStopped } else { Follow::SoFar };
    let console = desk.herd.follow_console(&address, follow).await?;
    let chunk = |data: Result<_, HerdError>| match data {
        Ok(data) => Ok(LogChunk { data }),
        Err(error) => Err(status(&error)),
    };
    Ok(console.map(chunk))
}
