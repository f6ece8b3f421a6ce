//! Saved layers: `snapshots/BOX/SNAPSHOT`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use boxherd_model::{BoxId, SnapshotId};
use boxherd_sys::btrfs;
use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use super::error::{StorageError, refused};
use super::pool::{Layer, Pool, make_folder};
use super::{folder, subvolume};

impl Pool {
    /// Saves the layer of a box, which must not write meanwhile. On disk when it returns.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoLayer`], [`StorageError::Exists`], [`StorageError::Full`].
    pub fn take_snapshot(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), StorageError> {
        let layer = self.layer(id).ok_or(StorageError::NoLayer { id })?;
        make_folder(&self.snapshots_path(id))?;
        self.duplicate(id, &layer.path, &self.snapshot_path(id, snapshot))?;
        self.to_disk()
    }

    /// Puts the layer of a stopped box back to a snapshot, which stays. On disk when it returns;
    /// after a crash the layer is either the old or the new one.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoSnapshot`], [`StorageError::NoLayer`], [`StorageError::Full`].
    pub fn restore_snapshot(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), StorageError> {
        let Layer { path } = self.layer(id).ok_or(StorageError::NoLayer { id })?;
        let saved = self.snapshot_path(id, snapshot);
        if !saved.is_dir() {
            return Err(StorageError::NoSnapshot { id, snapshot });
        }
        let fresh = folder::unique(&self.making());
        self.duplicate(id, &saved, &fresh)?;
        self.to_disk()?;
        let swapped = renameat_with(CWD, &fresh, CWD, &path, RenameFlags::EXCHANGE);
        self.inner.trash.take(&fresh)?;
        swapped.map_err(|error| refused("restore", &path)(error.into()))?;
        self.to_disk()?;
        self.free()
    }

    /// Removes a snapshot. Succeeds when there is none.
    pub fn remove_snapshot(&self, id: BoxId, snapshot: SnapshotId) -> Result<(), StorageError> {
        if self.inner.trash.take(&self.snapshot_path(id, snapshot))? {
            self.to_disk()?;
            self.free()?;
        }
        Ok(())
    }

    /// The snapshots of a box, oldest first.
    pub fn snapshots(&self, id: BoxId) -> Result<Vec<SnapshotId>, StorageError> {
        let path = self.snapshots_path(id);
        let failed = refused("list", &path);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(&failed)?,
        };
        let names: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let mut found: Vec<SnapshotId> =
            names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    fn snapshot_path(&self, id: BoxId, snapshot: SnapshotId) -> PathBuf {
        self.snapshots_path(id).join(snapshot.to_string())
    }

    /// Makes `target` a copy of `source`, charged to the box; whole or not at all.
    fn duplicate(&self, id: BoxId, source: &Path, target: &Path) -> Result<(), StorageError> {
        if !self.has_subvolumes() {
            if target.exists() {
                return Err(StorageError::Exists { path: target.to_owned() });
            }
            return folder::copy(&*self.inner.hands, source, target, &self.making());
        }
        let parent = target.parent().unwrap_or(target);
        let open = File::open(parent).map_err(refused("open", parent))?;
        let quota = self.inner.quota.as_ref().ok();
        let limit = quota.and_then(|quota| quota.limit(&self.layer_path(id), id));
        subvolume::snapshot(source, &open, target, quota, id, limit)
    }

    /// Frees what was thrown away. A box that has filled its disk waits for it.
    fn free(&self) -> Result<(), StorageError> {
        self.inner.trash.empty_in_background();
        if !self.has_subvolumes() {
            return Ok(());
        }
        self.settle()?;
        btrfs::sync_and_clean(&self.inner.layers)
            .map_err(refused("write to disk", &self.inner.root))
    }

    fn to_disk(&self) -> Result<(), StorageError> {
        let root = &self.inner.root;
        syncfs(&self.inner.layers).map_err(|error| refused("write to disk", root)(error.into()))
    }
}
