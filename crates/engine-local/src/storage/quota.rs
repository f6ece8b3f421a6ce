//! Limits on what a box keeps on disk, by the quota groups of btrfs.
//!
//! With simple quotas (Linux 6.7) every box has a group of level 1 whose number comes from the
//! box's id. Its layer, the snapshots of it, and subvolumes that a box makes inside its layer are
//! all members, so the limit holds for their sum. With classic quotas the limit is on the layer's
//! own group.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use boxherd_model::{BoxId, ByteSize};
use boxherd_sys::btrfs::{self, Group};
use rustix::io::Errno;

pub(super) const NO_BTRFS: &str = "the data folder is not on btrfs and no pool is prepared";

/// What btrfs may reserve, and give back, while an overlay is mounted: it counts eight levels of
/// tree, twice, for every item that each of a dozen requests may touch.
const ROOM: u64 = 32 << 20;
/// What a new layer may use, and more.
const EMPTY: u64 = 1 << 20;

/// `BTRFS_MAX_LEVEL`: no tree is as high.
const HIGHEST: u8 = 8;

/// Quotas that are on.
#[derive(Debug)]
pub(super) struct Quota {
    simple: bool,
    /// `/sys/fs/btrfs/ID/qgroups`
    groups: PathBuf,
}

impl Quota {
    /// What the filesystem of `folder` has; if there are no quotas, why.
    pub(super) fn detect(folder: &File) -> Result<Self, String> {
        let id = btrfs::filesystem_id(folder).map_err(|error| error.to_string())?;
        let groups = Path::new("/sys/fs/btrfs").join(id).join("qgroups");
        let simple = match fs::read_to_string(groups.join("mode")) {
            Ok(mode) => mode.trim() == "squota",
            // Before Linux 6.7 there is one kind, and nothing that says so.
            Err(_) if groups.is_dir() => false,
            Err(_) => {
                return Err("quotas are not enabled on the btrfs of the data folder".to_owned());
            }
        };
        if !simple {
            keeps_counting(&groups)?;
        }
        Ok(Self { simple, groups })
    }

    /// Makes the group that a new subvolume of the box shall join, if it is to join one.
    pub(super) fn prepare(
        &self,
        folder: &File,
        id: BoxId,
        limit: Option<ByteSize>,
    ) -> io::Result<Option<Group>> {
        if !self.simple {
            return Ok(None);
        }
        let group = group_of(id);
        match btrfs::create_group(folder, group) {
            Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
            result => result?,
        }
        if let Some(limit) = limit {
            btrfs::limit_group(folder, group, limit.bytes())?;
        }
        Ok(Some(group))
    }

    /// Sets what cannot be set before the subvolume at `path` exists.
    pub(super) fn limit_made(
        &self,
        folder: &File,
        path: &Path,
        limit: Option<ByteSize>,
    ) -> io::Result<()> {
        match limit {
            Some(limit) if !self.simple => {
                counts(&self.groups).map_err(io::Error::other)?;
                btrfs::limit_group(folder, own_group(path)?, limit.bytes())
            }
            _ => Ok(()),
        }
    }

    /// Whether each box has a group of its own, which somebody has to remove.
    pub(super) fn has_groups(&self) -> bool {
        self.simple
    }

    /// Removes the group of a box that is gone; `false` while something is in it: a subvolume that is being
    /// freed, or what another box still refers to.
    pub(super) fn forget(&self, folder: &File, id: BoxId) -> bool {
        match btrfs::remove_group(folder, group_of(id)).map_err(|error| error.raw_os_error()) {
            Ok(()) => true,
            Err(Some(errno)) if Errno::from_raw_os_error(errno) == Errno::NOENT => true,
            Err(errno) => {
                tracing::debug!(%id, ?errno, "a quota group stays");
                false
            }
        }
    }

    /// Lifts the limit of a box that is being deleted: removing a subvolume that it made inside its
    /// layer takes space in the layer, and a full one has none. What is gone needs no lifting.
    pub(super) fn lift(&self, folder: &File, layer: &Path, id: BoxId) {
        let group = if self.simple { Ok(group_of(id)) } else { own_group(layer) };
        if let Err(error) = group.and_then(|group| btrfs::limit_group(folder, group, u64::MAX)) {
            tracing::debug!(%id, %error, "no limit to lift");
        }
    }

    /// Whether a box with `limit` has less left than starting it may reserve.
    pub(super) fn lacks_room(&self, layer: &Path, id: BoxId, limit: ByteSize, new: bool) -> bool {
        let used = match new {
            // It is not asked for: the answer would wait for whoever makes a network namespace.
            true => EMPTY,
            false => self.usage(layer, id).unwrap_or(0),
        };
        limit.bytes().saturating_sub(used) < ROOM
    }

    /// Changes the limit of a box by the [`ROOM`] that it is lent, or back to what it is.
    pub(super) fn lend(
        &self,
        folder: &File,
        layer: &Path,
        id: BoxId,
        limit: ByteSize,
        lent: bool,
    ) -> io::Result<()> {
        let group = if self.simple { group_of(id) } else { own_group(layer)? };
        let room = if lent { ROOM } else { 0 };
        btrfs::limit_group(folder, group, limit.bytes().saturating_add(room))
    }

    /// The limit of a box, if it has one.
    pub(super) fn limit(&self, layer: &Path, id: BoxId) -> Option<ByteSize> {
        let bytes = self.read(layer, id, "max_referenced")?;
        (bytes > 0).then(|| ByteSize::from_bytes(bytes))
    }

    /// The bytes charged to a box.
    pub(super) fn usage(&self, layer: &Path, id: BoxId) -> Option<u64> {
        self.read(layer, id, "referenced")
    }

    fn read(&self, layer: &Path, id: BoxId, value: &str) -> Option<u64> {
        let group = if self.simple { group_of(id) } else { own_group(layer).ok()? };
        let folder = self.groups.join(format!("{}_{}", group.level, group.number));
        fs::read_to_string(folder.join(value)).ok()?.trim().parse().ok()
    }
}

/// The last 48 bits of the id, all of them random.
pub(super) fn group_of(id: BoxId) -> Group {
    let number = id.as_bytes()[10..].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Group { level: 1, number }
}

fn own_group(subvolume: &Path) -> io::Result<Group> {
    Ok(Group { level: 0, number: btrfs::subvolume_id(File::open(subvolume)?)? })
}

/// Classic quotas stop counting when a large subvolume is deleted, and hold nobody to a limit from then on: they
/// are told not to. There are other reasons for which they stop (seen with Linux 6.18), so that they are looked at
/// again for each box.
fn keeps_counting(groups: &Path) -> Result<(), String> {
    let threshold = groups.join("drop_subtree_threshold");
    match fs::read_to_string(&threshold) {
        Ok(level) if level.trim().parse().is_ok_and(|level: u8| level >= HIGHEST) => {}
        Ok(_) => fs::write(&threshold, HIGHEST.to_string()).map_err(|error| {
            format!(
                "the quotas of btrfs cannot be kept from stopping: {}: {error}",
                threshold.display()
            )
        })?,
        // Of a kernel that does not stop.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{}: {error}", threshold.display())),
    }
    counts(groups)
}

/// Whether classic quotas still count; where they do not, no limit is promised.
fn counts(groups: &Path) -> Result<(), String> {
    let inconsistent = groups.join("inconsistent");
    match fs::read_to_string(&inconsistent) {
        Ok(stopped) if stopped.trim() == "1" => {
            Err("the quotas of the btrfs of the data folder have \
             stopped counting: `btrfs quota rescan -w` has them count again"
                .to_owned())
        }
        Ok(_) => Ok(()),
        // Of a kernel that does not say.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", inconsistent.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classic_quotas_are_kept_from_stopping_and_not_trusted_when_they_have() {
        let groups = tempfile::tempdir().unwrap();
        let file = |name: &str| groups.path().join(name);
        keeps_counting(groups.path()).expect("an old kernel says nothing");
        fs::write(file("drop_subtree_threshold"), "3\n").unwrap();
        fs::write(file("inconsistent"), "0\n").unwrap();
        keeps_counting(groups.path()).unwrap();
        assert_eq!(fs::read_to_string(file("drop_subtree_threshold")).unwrap(), "8");
        fs::write(file("inconsistent"), "1\n").unwrap();
        assert!(keeps_counting(groups.path()).unwrap_err().contains("rescan"));
    }
}
