//! Where the writable layers of boxes live, and how they are limited, cloned and saved.
//!
//! A [`Pool`] is one of three kinds. On btrfs (the data folder itself, or a loop-backed filesystem
//! that [`prepare_loop_pool`] made) a layer is a subvolume: cloning is a snapshot, and a quota
//! holds. Anywhere else a layer is a plain folder: cloning is a parallel copy, and a limit is
//! refused by name.
//!
//! Every call blocks; call from a thread that may. It knows no running boxes: whoever clones or
//! saves the layer of a running box freezes the box first. Start reading at [`Pool`]; the reasons
//! are in `docs/design/0004-storage.md`.

mod copy;
mod error;
mod folder;
mod hands;
mod loop_pool;
mod pool;
mod quota;
mod remove;
mod snapshots;
mod subvolume;
#[cfg(test)]
mod tests;
mod trash;

pub(crate) use copy::copy_tree;
pub use error::StorageError;
pub(crate) use error::refused;
pub(crate) use hands::{Hands, Own};
pub(crate) use loop_pool::POOL_FILES;
pub use loop_pool::prepare_loop_pool;
pub use pool::{Layer, LayerCopy, Pool, PoolKind};
pub(crate) use remove::remove;
