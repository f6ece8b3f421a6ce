//! Which host ids a box has: 65,536 of its own, claimed by a link to a file of the box.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use boxherd_model::BoxId;
use serde::{Deserialize, Serialize};

/// Host ids of a box.
pub(crate) const COUNT: u32 = 65_536;
/// The host ids that boxes take theirs from: above what distributions and LXD give to others.
pub(crate) const RANGE: RangeInclusive<u32> = 524_288..=1_879_048_191;

/// The first host id of a box; its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct UidBase(pub(crate) u32);

/// The claims of one data folder.
#[derive(Debug, Clone)]
pub(crate) struct Uids {
    folder: PathBuf,
    /// First and last of the ranges that `/etc/subuid` and `/etc/subgid` give to others.
    taken: Vec<(u32, u32)>,
    /// Where the search begins, so that two installations on one host seldom meet.
    scatter: u32,
}

impl Uids {
    pub(crate) fn new(folder: PathBuf, installation: &str, others: &str) -> Self {
        let scatter = u32::from_str_radix(installation.get(..7).unwrap_or("0"), 16).unwrap_or(0);
        Self { folder, taken: ranges_of_others(others), scatter }
    }

    /// Claims ids for a box, which is said in its file `claimant`. Two processes that claim at once get
    /// different ones.
    pub(crate) fn claim(&self, id: BoxId, claimant: &Path) -> io::Result<UidBase> {
        fs::write(claimant, id.to_string())?;
        let slots = slots();
        let tail: [u8; 4] = std::array::from_fn(|i| id.as_bytes()[12 + i]);
        let start = u32::from_be_bytes(tail).wrapping_add(self.scatter) % slots;
        for step in 0..slots {
            let base = base_of((start + step) % slots);
            if self.is_taken(base) {
                continue;
            }
            match fs::hard_link(claimant, self.path(base)) {
                Ok(()) => return Ok(base),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::StorageFull, "every range of host ids is in use"))
    }

    /// Gives ids back. Succeeds when they are free.
    pub(crate) fn release(&self, base: UidBase) -> io::Result<()> {
        match fs::remove_file(self.path(base)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Gives back whatever a box claimed that has no record of it. Reads every claim.
    pub(crate) fn release_all_of(&self, id: BoxId) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            match fs::read_to_string(&path) {
                Ok(claimant) if claimant == id.to_string() => fs::remove_file(path)?,
                // Another's, or just given back by another.
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, base: UidBase) -> PathBuf {
        self.folder.join(base.0.to_string())
    }

    fn is_taken(&self, base: UidBase) -> bool {
        let last = base.0 + COUNT - 1;
        self.taken.iter().any(|(from, to)| base.0 <= *to && *from <= last)
    }
}

fn slots() -> u32 {
    (RANGE.end() - RANGE.start()) / COUNT
}

fn base_of(slot: u32) -> UidBase {
    UidBase(RANGE.start() + slot * COUNT)
}

/// The ranges in the texts of `/etc/subuid` and `/etc/subgid`: `NAME:FIRST:COUNT`.
fn ranges_of_others(text: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.split(':').skip(1);
        let first: u32 = fields.next()?.trim().parse().ok()?;
        let count: u32 = fields.next()?.trim().parse().ok()?;
        Some((first, first.saturating_add(count.checked_sub(1)?)))
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_have_ids_of_their_own_until_they_are_released() {
        let folder = tempfile::tempdir().unwrap();
        let uids = Uids::new(folder.path().to_owned(), "0123456789abcdef", "");
        let id = BoxId::new();
        let claimant = folder.path().join("id");
        let claim = || uids.claim(id, &claimant).unwrap();
        let (first, second) = (claim(), claim());
        assert!(first.0.abs_diff(second.0) >= COUNT);
        uids.release(first).unwrap();
        uids.release(first).unwrap();
        assert_eq!(claim(), first);
    }

    #[test]
    fn ids_of_others_are_left_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let id = BoxId::new();
        let claimant = folder.path().join("id");
        let claim = |uids: &Uids| uids.claim(id, &claimant).unwrap();
        let free = claim(&Uids::new(folder.path().to_owned(), "0", ""));
        let others = format!("alice:{}:1\nnonsense\nbob:1:0\n", free.0 + COUNT - 1);
        let other = Uids::new(folder.path().join(""), "0", &others);
        fs::remove_file(folder.path().join(free.0.to_string())).unwrap();
        assert_ne!(claim(&other), free);
    }

    #[test]
    fn the_last_range_ends_within_bounds() {
        assert!(base_of(slots() - 1).0 + COUNT - 1 <= *RANGE.end());
        assert!(slots() > 28_000);
    }
}
