//! Disks that boxes mount, and where.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::serde_as_text;
use crate::{ByteSize, DiskId};

/// The smallest disk: a filesystem with a journal takes some of it.
pub const SMALLEST_DISK: ByteSize = ByteSize::from_mib(16);
/// The largest disk.
pub const LARGEST_DISK: ByteSize = ByteSize::from_mib(16 << 20);

/// What a box mounts of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskMount {
    /// Which disk.
    pub disk: DiskId,
    /// Where.
    pub path: MountPath,
    /// Nothing can be written.
    pub read_only: bool,
}

/// Where in a box a disk appears: an absolute path without `.` and `..`, that is not one of the
/// kernel's own filesystems. What it leads to in the box, only the box's own files say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountPath(String);

/// No disk can be mounted there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no place for a disk: {reason}")]
pub struct MountPathError {
    text: String,
    reason: &'static str,
}

/// What every box has mounted anew at each start.
const TAKEN: [&str; 4] = ["proc", "sys", "dev", "run"];
/// `PATH_MAX` with room for what leads there.
const LONGEST: usize = 1024;
/// `NAME_MAX`.
const LONGEST_NAME: usize = 255;
/// How much of a refused text is repeated, in characters.
const SHOWN: usize = 80;

impl MountPath {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its folders from the top down, without slashes; at least one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

/// Why not; pure.
fn check(text: &str, names: &[&str]) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("it has to begin with `/`");
    }
    if text.len() > LONGEST || names.iter().any(|name| name.len() > LONGEST_NAME) {
        return Err("it is too long");
    }
    if text.contains(char::is_control) {
        return Err("it has control characters");
    }
    if names.iter().any(|name| matches!(*name, "." | "..")) {
        return Err("it has `.` or `..`");
    }
    match names.first() {
        None => Err("a box has its own root"),
        Some(first) if TAKEN.contains(first) => Err("the kernel's own files are there"),
        Some(_) => Ok(()),
    }
}

/// Slashes too many are left out.
impl FromStr for MountPath {
    type Err = MountPathError;

    fn from_str(text: &str) -> Result<Self, MountPathError> {
        let names: Vec<&str> = text.split('/').filter(|name| !name.is_empty()).collect();
        let text_shown = || text.chars().take(SHOWN).collect();
        check(text, &names).map_err(|reason| MountPathError { text: text_shown(), reason })?;
        Ok(Self(format!("/{}", names.join("/"))))
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(MountPath);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slashes_too_many_are_left_out() {
        let path: MountPath = "//srv///data/".parse().unwrap();
        assert_eq!(path.as_str(), "/srv/data");
        assert_eq!(path.names().collect::<Vec<_>>(), ["srv", "data"]);
    }

    #[test]
    fn places_that_are_taken_or_lead_elsewhere_are_refused() {
        let long = format!("/{}", "x".repeat(256));
        let longer = "/x".repeat(600);
        for text in [
            "",
            "/",
            "//",
            "data",
            "./data",
            "/a/../b",
            "/..",
            "/a/.",
            "/proc",
            "/proc/self",
            "/sys",
            "/dev/shm",
            "/run",
            "//dev",
            "/a\nb",
            "/a\0",
            &long,
            &longer,
        ] {
            assert!(text.parse::<MountPath>().is_err(), "{text}");
        }
        assert!("/process".parse::<MountPath>().is_ok());
    }

    proptest! {
        #[test]
        fn what_is_accepted_prints_as_it_parses(text in "[/a.]{0,12}") {
            if let Ok(path) = text.parse::<MountPath>() {
                prop_assert_eq!(path.to_string().parse(), Ok(path.clone()));
                prop_assert!(path.names().all(|name| !name.is_empty() && name != ".."));
            }
        }
    }
}
