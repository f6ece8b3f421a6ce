//! What a box sees as `/`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) mod devices;
pub(crate) mod skeleton;

/// Makes a folder that is made once and never changed, unless it is there: `fill` writes into a
/// draft, which gets its name when it is whole.
fn once(folder: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    // Several threads of one process may be here at once, as several processes may.
    static DRAFTS: AtomicU32 = AtomicU32::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = folder.with_extension(format!("new-{}-{number}", std::process::id()));
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir(&draft)?,
    }
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
    fill(&draft)?;
    match fs::rename(&draft, folder) {
        // Another process was first.
        Err(_) if folder.exists() => fs::remove_dir_all(draft),
        renamed => renamed,
    }
}
