//! The one door to the environment, and what is decided from it.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::Failure;

/// A variable of ours; `None` when it is not set or empty.
pub(crate) fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A variable of ours as text; `None` also when it is not UTF-8.
pub(crate) fn text(name: &str) -> Option<String> {
    var(name)?.into_string().ok()
}

/// What was typed, the program's own name first.
pub(crate) fn arguments() -> Vec<OsString> {
    std::env::args_os().collect()
}

/// Where boxes are kept when nobody says where. `None` without a home.
pub(crate) fn default_data() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/lib/boxherd".into());
    }
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let shared = var("XDG_DATA_HOME").map(PathBuf::from).and_then(absolute);
    let shared = shared.or_else(|| Some(PathBuf::from(var("HOME")?).join(".local/share")));
    shared.map(|folder| folder.join("boxherd"))
}

/// Changes when the host is restarted.
pub(crate) fn boot_id() -> Result<String, Failure> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::io(format!("cannot read `{path}`"), &error))?;
    Ok(text.trim().to_owned())
}
