//! Where in a box a disk is mounted.
//!
//! The path is walked as the box's root, with the server's files API, which works for boxes that run, stand
//! still and are stopped: links lead to other places of the box, and the server is told the place that
//! they lead to. What the box changes between the look and the mount has it mounted elsewhere in the box;
//! at a start LXC follows no links at all.

use std::collections::VecDeque;

use boxherd_engine::{EngineError, TruthState};
use boxherd_lxd_client::{Error, FileMeta, Found, Instance, InstanceInfo};
use boxherd_model::{BoxId, MountPath};

use super::mounts;
use crate::error::{failed, failed_of};
use crate::state;

/// `MAXSYMLINKS`.
const MOST_LINKS: usize = 40;
/// Folders on the way that were missing.
const FOLDER: FileMeta = FileMeta { uid: 0, gid: 0, mode: 0o755 };

/// What is in the folder below a disk.
const HELD: &str = ".boxherd-disk";

/// A place that a disk may be mounted at.
#[derive(Debug)]
pub(super) struct Place {
    path: String,
    /// Folders that are not there yet, the upper ones first.
    missing: Vec<String>,
}

/// A name on the way, and whether it came out of a link.
type Step = (String, bool);

impl Place {
    /// Where a path leads in an instance, when nothing is mounted there, above it or below it.
    pub(super) async fn find(
        instance: &Instance,
        info: &InstanceInfo,
        path: &MountPath,
    ) -> Result<Self, EngineError> {
        let refused = |reason: String| EngineError::MountPath { path: path.to_string(), reason };
        let place = Self::walk(instance, path, &refused).await?;
        // What is mounted in a box that stands still only it could say.
        let mut taken = match state::state(info) {
            TruthState::Running => mounts::points(instance).await?,
            _ => Vec::new(),
        };
        let disks = info.expanded_devices.values().filter(|device| device.contains_key("source"));
        taken.extend(disks.filter_map(|device| device.get("path")).map(|path| plain(path)));
        match taken.iter().find(|taken| overlap(taken, &place.path)) {
            Some(taken) => Err(refused(format!("`{taken}` is mounted there"))),
            None => Ok(place),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Makes the folders that are missing.
    pub(super) async fn make(&self, instance: &Instance, id: BoxId) -> Result<(), EngineError> {
        for folder in &self.missing {
            let made = instance.make_directory(folder, FOLDER).await;
            made.map_err(failed_of(id, format!("make the folder `{folder}`")))?;
        }
        Ok(())
    }

    async fn walk(
        instance: &Instance,
        path: &MountPath,
        refused: impl Fn(String) -> EngineError,
    ) -> Result<Self, EngineError> {
        let mut ahead: VecDeque<Step> = path.names().map(|name| (name.to_owned(), false)).collect();
        let (mut at, mut links) = (String::new(), 0);
        let mut missing = Vec::new();
        while let Some((name, of_link)) = ahead.pop_front() {
            if name == ".." {
                at.truncate(at.rfind('/').unwrap_or(0));
                continue;
            }
            let next = format!("{at}/{name}");
            // Whatever is behind it, no disk is mounted below the kernel's own files.
            let parsed: Result<MountPath, _> = next.parse();
            parsed.map_err(|error| refused(error.to_string()))?;
            if missing.is_empty() {
                match look(instance, &next).await? {
                    Some(Found::Directory(..)) => {}
                    Some(Found::Symlink(_, target)) => {
                        links += 1;
                        if links > MOST_LINKS {
                            return Err(refused("too many links are on the way".to_owned()));
                        }
                        let target = String::from_utf8(target)
                            .map_err(|_| refused(format!("`{next}` leads where no text says")))?;
                        if target.starts_with('/') {
                            at.clear();
                        }
                        for name in names(&target).rev() {
                            ahead.push_front((name.to_owned(), true));
                        }
                        continue;
                    }
                    Some(Found::File(..)) => return Err(refused(format!("`{next}` is a file"))),
                    None if of_link => return Err(refused("a link leads nowhere".to_owned())),
                    None => missing.push(next.clone()),
                }
            } else {
                missing.push(next.clone());
            }
            at = next;
        }
        let parsed: Result<MountPath, _> = at.parse();
        parsed.map_err(|error| refused(error.to_string()))?;
        Ok(Self { path: at, missing })
    }
}

/// Keeps the folder that a disk is mounted on: where it is empty the server removes it, and makes another
/// that nobody may read (LXD 5.0.2), before it mounts and when it unmounts. One that the box has moved, or put
/// something else in the place of, the server does not find either.
pub(super) async fn hold(instance: &Instance, place: &str) {
    let made = instance.make_directory(&format!("{place}/{HELD}"), FOLDER).await;
    told(made, "the folder below a disk may become another");
}

/// Undoes [`hold`] where a disk was mounted.
pub(super) async fn let_go(instance: &Instance, place: &str) {
    let removed = instance.delete_file(&format!("{place}/{HELD}")).await;
    told(removed, "an empty folder may be left where a disk was");
}

fn told(done: Result<(), Error>, what: &str) {
    match done {
        Ok(()) | Err(Error::NotFound { .. }) => {}
        Err(error) => tracing::debug!(%error, "{what}"),
    }
}

/// What there is at a path; `None` for nothing. Devices and sockets the server does not tell of.
async fn look(instance: &Instance, path: &str) -> Result<Option<Found>, EngineError> {
    match instance.read_file(path).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error @ (Error::BadRequest { .. } | Error::Server { .. })) => {
            Err(EngineError::MountPath { path: path.to_owned(), reason: error.to_string() })
        }
        Err(error) => Err(failed("look where the disk is to be")(error)),
    }
}

fn names(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|name| !matches!(*name, "" | "."))
}

/// A path with no more than it needs.
fn plain(path: &str) -> String {
    names(path).fold(String::new(), |at, name| format!("{at}/{name}"))
}

/// Whether what is mounted at one of two places has to do with what is at the other. Everything is below
/// the root, which is empty here.
fn overlap(mounted: &str, place: &str) -> bool {
    let below = |one: &str, other: &str| {
        one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mounted = mounted.trim_end_matches('/');
    !mounted.is_empty() && (below(mounted, place) || below(place, mounted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_or_below_a_mount_is_taken() {
        for (mounted, place, taken) in [
            ("/srv", "/srv", true),
            ("/srv", "/srv/data", true),
            ("/srv/data", "/srv", true),
            ("/srv/data", "/srv/data2", false),
            ("/", "/srv", false),
            ("", "/srv", false),
        ] {
            assert_eq!(overlap(mounted, place), taken, "{mounted} {place}");
        }
    }

    #[test]
    fn paths_of_devices_may_have_slashes_too_many() {
        assert_eq!(plain("srv//data/./x/"), "/srv/data/x");
    }
}
