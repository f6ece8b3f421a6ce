//! From what the rooms below say to what an engine answers.

use std::io;
use std::path::Path;

use boxherd_engine::{DISK_SPACE, EngineError};
use rustix::io::Errno;

use crate::helper::{HelperError, PLACE, own_ids};
use crate::storage::StorageError;

/// For `map_err`: what the system said about `step`.
pub(crate) fn at(step: impl Into<String>) -> impl FnOnce(io::Error) -> EngineError {
    let step = step.into();
    move |source| refused(step, source, None)
}

/// The same of the data folder, which can be another one.
pub(crate) fn data_folder(path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let step = format!("open the data folder `{}`", path.display());
    let hint = "`--data DIR` or `BOXHERD_DATA` choose a folder of your own, which need not exist";
    move |source| refused(step, source, Some(hint.to_owned()))
}

fn refused(step: String, source: io::Error, hint: Option<String>) -> EngineError {
    let exhausted = |resource| {
        let source = io::Error::new(source.kind(), format!("{step}: {source}"));
        EngineError::Exhausted { resource, source }
    };
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT) => exhausted(DISK_SPACE),
        Some(Errno::MFILE | Errno::NFILE) => exhausted("file descriptors"),
        Some(Errno::AGAIN) => exhausted("processes"),
        Some(Errno::NOMEM) => exhausted("memory"),
        _ => EngineError::Refused { step, source: Box::new(source), hint },
    }
}

pub(crate) fn helper(error: HelperError) -> EngineError {
    match error {
        HelperError::Failed(failure) => {
            let hint = hint(&failure.step, failure.errno);
            let source = match failure.errno {
                Some(errno) => io::Error::from_raw_os_error(errno),
                None => io::Error::other(failure.message),
            };
            refused(failure.step, source, hint)
        }
        gone @ HelperError::Gone(_) => EngineError::Unreachable { source: Box::new(gone) },
    }
}

/// The way out of what a step of a start can run into.
fn hint(step: &str, errno: Option<i32>) -> Option<String> {
    let says = |text: &str| Some(text.to_owned());
    match errno.map(Errno::from_raw_os_error) {
        Some(_) if step.starts_with(PLACE) => {
            says("detach the disk, or put away what is in its place in the box")
        }
        Some(Errno::INVAL) if step.starts_with("map ids on") => says(
            "its filesystem has no id-mapped mounts; put the data folder on ext4, btrfs or xfs",
        ),
        Some(Errno::NOSPC) if step.starts_with("make the box's namespaces") => {
            says("raise the limits in `/proc/sys/user`, such as `max_user_namespaces`")
        }
        Some(Errno::PERM) if step.starts_with("mount proc") || step.starts_with("mount sysfs") => {
            says("this host hides parts of `/proc` or `/sys`, as containers do; run outside of one")
        }
        Some(Errno::PERM | Errno::NOSPC | Errno::USERS) if step == own_ids::MAKE => says(
            "this host gives no user namespaces to ordinary users; the administrator can, with \
             `sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1 \
             kernel.apparmor_restrict_unprivileged_userns=0` (those that exist), or run as root",
        ),
        None if step.starts_with("start the box's first process") => {
            says("a limit of memory that is too small ends it; give it 8 MiB or more")
        }
        Some(Errno::PERM) => says("`boxherd doctor` says what this host allows"),
        _ => None,
    }
}

pub(crate) fn storage(error: StorageError) -> EngineError {
    let hint = error.hint();
    match error {
        full @ StorageError::Full { .. } => EngineError::Exhausted {
            resource: DISK_SPACE,
            source: io::Error::new(io::ErrorKind::StorageFull, full.to_string()),
        },
        StorageError::NoLayer { id } => EngineError::NoSuchBox(id),
        other => EngineError::Refused {
            step: "keep the disk of the box".to_owned(),
            source: Box::new(other),
            hint,
        },
    }
}

/// So that what begins in the pool can end in the engine.
impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        storage(error)
    }
}

pub(crate) fn network(error: boxherd_net::NetError) -> EngineError {
    let hint = error.hint().map(str::to_owned);
    EngineError::Refused {
        step: "give the box its network".to_owned(),
        source: Box::new(error),
        hint,
    }
}
