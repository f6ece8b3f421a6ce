//! The pool: which kind it is, and the life of a layer.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use boxherd_model::{BoxId, ByteSize};

use super::error::{StorageError, refused};
use super::hands::{Hands, Own};
use super::quota::{self, Quota};
use super::trash::Trash;
use super::{folder, loop_pool, subvolume};

pub(super) const LAYERS: &str = "layers";
pub(super) const SNAPSHOTS: &str = "snapshots";
pub(super) const TRASH: &str = "trash";
/// Copies that are not finished.
pub(super) const MAKING: &str = "making";
/// A note for each box whose quota group is to go.
pub(super) const GONE: &str = "gone";
/// Modified when quota groups were last swept.
const SWEPT: &str = "swept";

/// Groups of boxes that are gone are swept when one is deleted, no more often than this: the kernel
/// lets go of them when it has freed the subvolumes, which it does twice a minute.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(30);

/// What a layer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// Subvolumes of the btrfs that the data folder is on.
    Subvolumes,
    /// Subvolumes of the loop-backed btrfs `DATA/pool.img`, mounted at `DATA/pool`.
    Loop,
    /// Plain folders.
    Folders,
}

/// One box's share of the pool: a folder, inside the box's limit, in which the runtime makes what
/// it likes (`upper` and `work` of an overlay, the console). Mode 0700, owned by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The folder. Its name is the box's id.
    pub path: PathBuf,
}

/// What becomes of a layer that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerCopy {
    /// The box that it is for.
    pub id: BoxId,
    /// The limit of its size.
    pub limit: Option<ByteSize>,
}

/// Where the writable layers of boxes live. Cheap to clone; several processes may have the same
/// pool open. Two calls for the *same* box must not run at once: the herd's journal sees to that.
#[derive(Debug, Clone)]
pub struct Pool {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) root: PathBuf,
    kind: PoolKind,
    pub(super) layers: File,
    pub(super) quota: Result<Quota, String>,
    pub(super) trash: Trash,
    pub(super) hands: Arc<dyn Hands>,
}

impl Inner {
    /// Notes that the group of a box is to go, when the kernel lets go of it.
    fn note_gone(&self, id: BoxId) -> Result<(), StorageError> {
        let note = self.root.join(GONE).join(id.to_string());
        File::create(&note).map(drop).map_err(refused("write", &note))
    }

    /// Removes the groups that are to go, if nobody did so lately.
    fn sweep_groups_now_and_then(self: &Arc<Self>) {
        let stamp = self.root.join(SWEPT);
        let swept = fs::metadata(&stamp).and_then(|metadata| metadata.modified());
        if swept.is_ok_and(|swept| swept.elapsed().is_ok_and(|since| since < BETWEEN_SWEEPS)) {
            return;
        }
        let inner = Arc::clone(self);
        let sweep = move || {
            let stamped = fs::write(&stamp, b"\n").map_err(refused("write", &stamp));
            if let Err(error) = stamped.and_then(|()| inner.sweep_groups()) {
                tracing::warn!(%error, "quota groups of boxes that are gone stay for now");
            }
        };
        // Nobody waits for it, and what is left is found by the next.
        if let Err(error) = thread::Builder::new().name("groups".into()).spawn(sweep) {
            tracing::warn!(%error, "no thread to remove quota groups: the next delete does");
        }
    }

    fn sweep_groups(&self) -> Result<(), StorageError> {
        let Some(quota) = self.grouped() else { return Ok(()) };
        let path = self.root.join(GONE);
        for entry in fs::read_dir(&path).map_err(refused("list", &path))? {
            let note = entry.map_err(refused("list", &path))?.path();
            let id = note.file_name().and_then(|name| name.to_str()?.parse().ok());
            if id.is_none_or(|id| quota.forget(&self.layers, id)) {
                // Another may have been faster.
                drop(fs::remove_file(&note));
            }
        }
        Ok(())
    }

    /// The quota of a pool in which boxes have groups of their own.
    fn grouped(&self) -> Option<&Quota> {
        self.quota.as_ref().ok().filter(|quota| quota.has_groups())
    }
}

impl Pool {
    /// Opens the pool of the data folder `data`, which exists and belongs to the caller with mode
    /// 0700. Mounts the prepared filesystem when there is one and the host was rebooted, and takes
    /// up removals that an earlier process did not finish.
    ///
    /// # Errors
    ///
    /// The folders cannot be made, or the prepared filesystem cannot be mounted.
    pub fn open(data: &Path) -> Result<Self, StorageError> {
        Self::open_with(data, Arc::new(Own))
    }

    /// The same for a caller whose own hands may not touch all files of boxes.
    pub(crate) fn open_with(data: &Path, hands: Arc<dyn Hands>) -> Result<Self, StorageError> {
        let looped = loop_pool::mount_if_prepared(data)?;
        let root = looped.clone().unwrap_or_else(|| data.to_owned());
        for name in [LAYERS, SNAPSHOTS, TRASH, MAKING] {
            make_folder(&root.join(name))?;
        }
        let path = root.join(LAYERS);
        let layers = File::open(&path).map_err(refused("open", &path))?;
        let kind = match looped {
            Some(_) => PoolKind::Loop,
            None if subvolume::usable(&layers) => PoolKind::Subvolumes,
            None => PoolKind::Folders,
        };
        let quota = match kind {
            PoolKind::Folders => Err(quota::NO_BTRFS.to_owned()),
            PoolKind::Loop | PoolKind::Subvolumes => Quota::detect(&layers),
        };
        let trash = Trash::new(root.join(TRASH), Arc::clone(&hands));
        let pool = Self { inner: Arc::new(Inner { root, kind, layers, quota, trash, hands }) };
        if pool.inner.grouped().is_some() {
            make_folder(&pool.inner.root.join(GONE))?;
        }
        if pool.inner.trash.holds_something() {
            pool.inner.trash.empty_for_others();
        }
        Ok(pool)
    }

    /// What layers are made of here.
    #[must_use]
    pub fn kind(&self) -> PoolKind {
        self.inner.kind
    }

    /// Whether `limit` of [`create_layer`](Self::create_layer) is honoured; if not, why.
    pub fn can_limit(&self) -> Result<(), String> {
        self.inner.quota.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Makes an empty layer that may grow to `limit`, metadata and snapshots included.
    ///
    /// # Errors
    ///
    /// [`StorageError::CannotLimit`] when there is a limit and this pool has none;
    /// [`StorageError::Exists`]; [`StorageError::Full`].
    pub fn create_layer(&self, id: BoxId, limit: Option<ByteSize>) -> Result<Layer, StorageError> {
        let path = self.layer_path(id);
        if !self.has_subvolumes() {
            if limit.is_some() {
                return Err(self.cannot_limit());
            }
            folder::make(&path)?;
            return Ok(Layer { path });
        }
        let quota = match (&self.inner.quota, limit) {
            (Err(_), Some(_)) => return Err(self.cannot_limit()),
            (Err(_), None) => None,
            (Ok(quota), _) => Some(quota),
        };
        subvolume::make(&self.inner.layers, &path, quota, id, limit)?;
        Ok(Layer { path })
    }

    /// The layer of a box, if it has one.
    #[must_use]
    pub fn layer(&self, id: BoxId) -> Option<Layer> {
        let path = self.layer_path(id);
        path.is_dir().then_some(Layer { path })
    }

    /// Gives each of `children` a copy of the layer of `source`, with a limit of its own. The box must
    /// not write meanwhile. All children have one afterwards, or none.
    ///
    /// # Errors
    ///
    /// [`StorageError::NoLayer`], [`StorageError::Exists`], [`StorageError::CannotLimit`],
    /// [`StorageError::Full`].
    pub fn clone_layers(&self, source: BoxId, children: &[LayerCopy]) -> Result<(), StorageError> {
        let layer = self.layer(source).ok_or(StorageError::NoLayer { id: source })?;
        let present = children.iter().find_map(|child| self.layer(child.id));
        if let Some(Layer { path }) = present {
            return Err(StorageError::Exists { path });
        }
        if self.inner.quota.is_err() && children.iter().any(|child| child.limit.is_some()) {
            return Err(self.cannot_limit());
        }
        let result = if self.has_subvolumes() {
            self.snapshot_for_all(&layer.path, children)
        } else {
            let (hands, making) = (&*self.inner.hands, self.making());
            let copy = |child: &LayerCopy| {
                folder::copy(hands, &layer.path, &self.layer_path(child.id), &making)
            };
            children.iter().try_for_each(copy)
        };
        result.map_err(|error| self.undo(children, error))
    }

    /// Takes the layer and the snapshots of a box away. The space is freed in the background: see
    /// [`settle`](Self::settle). Succeeds when there is nothing, and on what is half made.
    pub fn delete_layer(&self, id: BoxId) -> Result<(), StorageError> {
        if let Ok(quota) = &self.inner.quota {
            quota.lift(&self.inner.layers, &self.layer_path(id), id);
        }
        let grouped = self.inner.grouped().is_some();
        if grouped {
            self.inner.note_gone(id)?;
        }
        let moved = [self.layer_path(id), self.snapshots_path(id)]
            .iter()
            .map(|path| self.inner.trash.take(path))
            .collect::<Result<Vec<bool>, _>>()?;
        if moved.contains(&true) {
            self.inner.trash.empty_in_background();
        }
        if grouped {
            self.inner.sweep_groups_now_and_then();
        }
        Ok(())
    }

    /// Does `work`, which starts a box, with room on the box's disk even where the box has filled it:
    /// overlayfs makes folders of its own in it, and is read-only for as long as it is mounted when it
    /// cannot. What is left of the room is taken back at the end, or by the next start. A `new` box has
    /// filled nothing.
    ///
    /// # Errors
    ///
    /// The limit cannot be changed, or `work` failed.
    pub(crate) fn with_room<T, E: From<StorageError>>(
        &self,
        id: BoxId,
        (limit, new): (Option<ByteSize>, bool),
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let (Some(limit), Ok(quota)) = (limit, &self.inner.quota) else { return work() };
        let path = self.layer_path(id);
        if !quota.lacks_room(&path, id, limit, new) {
            return work();
        }
        let lend = |lent| {
            quota
                .lend(&self.inner.layers, &path, id, limit, lent)
                .map_err(|error| E::from(refused("limit", &path)(error)))
        };
        lend(true)?;
        let done = work();
        lend(false)?;
        done
    }

    /// The bytes that count against the limit of a box. `None` where nobody counts.
    #[must_use]
    pub fn usage(&self, id: BoxId) -> Option<u64> {
        self.inner.quota.as_ref().ok()?.usage(&self.layer_path(id), id)
    }

    /// Whether [`settle`](Self::settle) returns at once.
    pub(crate) fn is_settled(&self) -> bool {
        self.inner.trash.is_settled()
    }

    /// Waits until what this process deleted is gone.
    ///
    /// # Errors
    ///
    /// What kept the last removal from its end. What is left is tried again by the next
    /// [`open`](Self::open) or [`sweep`](Self::sweep).
    pub fn settle(&self) -> Result<(), StorageError> {
        self.inner.trash.settle()
    }

    /// Removes what crashes left behind: unfinished copies, trash, quota groups without members.
    /// For reconciliation; not on the hot path.
    pub fn sweep(&self) -> Result<(), StorageError> {
        folder::discard_unfinished(&self.making(), &self.inner.trash)?;
        self.inner.trash.empty()?;
        self.inner.sweep_groups()
    }

    pub(super) fn has_subvolumes(&self) -> bool {
        self.inner.kind != PoolKind::Folders
    }

    pub(super) fn layer_path(&self, id: BoxId) -> PathBuf {
        self.inner.root.join(LAYERS).join(id.to_string())
    }

    pub(super) fn snapshots_path(&self, id: BoxId) -> PathBuf {
        self.inner.root.join(SNAPSHOTS).join(id.to_string())
    }

    pub(super) fn making(&self) -> PathBuf {
        self.inner.root.join(MAKING)
    }

    fn cannot_limit(&self) -> StorageError {
        let reason = self.inner.quota.as_ref().err().cloned().unwrap_or_default();
        StorageError::CannotLimit { reason }
    }

    fn snapshot_for_all(&self, path: &Path, children: &[LayerCopy]) -> Result<(), StorageError> {
        let quota = self.inner.quota.as_ref().ok();
        subvolume::for_all(children, |&LayerCopy { id, limit }| {
            let to = self.layer_path(id);
            subvolume::snapshot(path, &self.inner.layers, &to, quota, id, limit)
        })
    }

    fn undo(&self, children: &[LayerCopy], error: StorageError) -> StorageError {
        for LayerCopy { id, .. } in children {
            // The first error says more; what is left is found by its id when the box is deleted.
            if let Err(left) = self.delete_layer(*id) {
                tracing::warn!(%id, error = %left, "a half-made clone is left");
            }
        }
        error
    }
}

/// Makes a folder for this process's user alone; one that is there is fine.
pub(super) fn make_folder(path: &Path) -> Result<(), StorageError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_folder(path) => Ok(()),
        result => result.map_err(refused("make", path)),
    }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}
