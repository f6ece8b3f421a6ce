//! What is on disk, below `DATA/net`:
//!
//! ```text
//! lock                  held while a network is made
//! networks/NAME.json    a network's number and subnet
//! leases/ID.json        a box's lease
//! slots/001-0ff         a symbolic link to the id of the box that has this address: the claim
//! names/001-web         a symbolic link to the id of the box of that name, for netd
//! netd.lock netd.log    held, and written, by netd
//! ```
//!
//! A claim is made by making the link, which fails when it is there; so no two processes ever lease
//! the same address, without a lock.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use boxherd_model::{BoxId, BoxName, NetworkName};
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::names::{AnchorName, Tag};
use crate::{Lease, NetError, Subnet};

/// A network as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    pub(crate) name: NetworkName,
    pub(crate) tag: Tag,
    pub(crate) index: u16,
    pub(crate) subnet: Subnet,
    pub(crate) mtu: u32,
}

impl Network {
    pub(crate) const fn anchor(&self) -> AnchorName {
        AnchorName { tag: self.tag, index: self.index }
    }
}

/// What is below `DATA/net` of folders.
pub(crate) const FOLDERS: [&str; 4] = ["networks", "leases", "slots", "names"];

/// The folder `DATA/net`.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn of(data: &Path) -> Self {
        Self(data.join("net"))
    }

    /// Makes the folder and what is in it.
    pub(crate) fn make(&self) -> Result<(), NetError> {
        for name in FOLDERS {
            let path = self.0.join(name);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.map_err(NetError::file("make", path))?;
        }
        Ok(())
    }

    /// Waits until no other process makes networks, until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, NetError> {
        let path = self.0.join("lock");
        let locked = File::create(&path).and_then(|file| {
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        });
        locked.map_err(NetError::file("lock", path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn network(&self, name: &NetworkName) -> Result<Option<Network>, NetError> {
        read(&self.0.join(format!("networks/{name}.json")))
    }

    pub(crate) fn networks(&self) -> Result<Vec<Network>, NetError> {
        self.read_all("networks")
    }

    pub(crate) fn write_network(&self, network: &Network) -> Result<(), NetError> {
        write(&self.0.join(format!("networks/{}.json", network.name)), network)
    }

    pub(crate) fn lease(&self, id: BoxId) -> Result<Option<Lease>, NetError> {
        read(&self.lease_path(id))
    }

    pub(crate) fn all_leases(&self) -> Result<Vec<Lease>, NetError> {
        self.read_all("leases")
    }

    pub(crate) fn write_lease(&self, lease: &Lease) -> Result<(), NetError> {
        write(&self.lease_path(lease.id), lease)
    }

    pub(crate) fn remove_lease(&self, lease: &Lease) -> Result<(), NetError> {
        remove(&self.lease_path(lease.id))
    }

    /// Gives a claim up.
    pub(crate) fn free(&self, lease: &Lease) -> Result<(), NetError> {
        remove(&self.slot_path(lease.index, lease.slot))
    }

    /// Whether no box has a lease.
    pub(crate) fn has_no_lease(&self) -> Result<bool, NetError> {
        let path = self.0.join("leases");
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            entries => entries.map_err(NetError::file("list", path))?,
        };
        // One that is being written is one that will be there.
        Ok(entries.take(1).count() == 0)
    }

    /// Lets a box be found by its name. Names are unique among the living, so one that is there
    /// already is of a box that is gone, or of this one.
    pub(crate) fn write_name(&self, lease: &Lease) -> Result<(), NetError> {
        let path = self.name_path(lease.index, lease.name.as_str());
        let id = lease.id.to_string();
        let made = match symlink(&id, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                fs::remove_file(&path).and_then(|()| symlink(&id, &path))
            }
            made => made,
        };
        made.map_err(NetError::file("write", path))
    }

    /// Lets a box not be found by this name any more.
    pub(crate) fn remove_name(&self, lease: &Lease) -> Result<(), NetError> {
        let path = self.name_path(lease.index, lease.name.as_str());
        match link(&path)? {
            Some(id) if id == lease.id => remove(&path),
            _ => Ok(()),
        }
    }

    /// The lease of the box of that name.
    pub(crate) fn named(&self, index: u16, name: &str) -> Result<Option<Lease>, NetError> {
        let Ok(name) = name.parse::<BoxName>() else { return Ok(None) };
        match link(&self.name_path(index, name.as_str()))? {
            Some(id) => self.lease(id),
            None => Ok(None),
        }
    }

    /// Claims an address for a box; whether it was free, or was this box's already.
    pub(crate) fn claim(&self, index: u16, slot: u16, id: BoxId) -> Result<bool, NetError> {
        let path = self.slot_path(index, slot);
        match symlink(id.to_string(), &path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Ok(self.owner(index, slot)? == Some(id))
            }
            Err(error) => Err(NetError::file("claim", path)(error)),
        }
    }

    /// Who has claimed an address.
    pub(crate) fn owner(&self, index: u16, slot: u16) -> Result<Option<BoxId>, NetError> {
        link(&self.slot_path(index, slot))
    }

    /// Frees the claims and the names for which `stays` says no.
    pub(crate) fn sweep_links(&self, stays: impl Fn(BoxId) -> bool) -> Result<(), NetError> {
        for path in [self.entries("slots")?, self.entries("names")?].concat() {
            if link(&path)?.is_none_or(|id| !stays(id)) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn name_path(&self, index: u16, name: &str) -> PathBuf {
        self.0.join(format!("names/{index:03x}-{name}"))
    }

    fn lease_path(&self, id: BoxId) -> PathBuf {
        self.0.join(format!("leases/{id}.json"))
    }

    fn slot_path(&self, index: u16, slot: u16) -> PathBuf {
        self.0.join(format!("slots/{index:03x}-{slot:03x}"))
    }

    /// The files of a folder, without those that are being written.
    fn entries(&self, name: &str) -> Result<Vec<PathBuf>, NetError> {
        let path = self.0.join(name);
        let listed = match fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.and_then(|entries| {
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
            }),
        };
        let mut paths = listed.map_err(NetError::file("list", path))?;
        paths.retain(|path| path.extension().is_none_or(|extension| extension != "new"));
        paths.sort();
        Ok(paths)
    }

    fn read_all<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, NetError> {
        let read = self.entries(name)?.into_iter().map(|path| read(&path));
        // One that has gone since the listing is not an error.
        read.filter_map(Result::transpose).collect()
    }
}

/// Reads a file of ours; `None` when it is not there, or when it is empty, which is what a crash of
/// the host leaves of a file that was not synced.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, NetError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(NetError::file("read", path))?,
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    let damaged = |source| NetError::Damaged { path: path.to_owned(), source };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// Writes a file so that a reader sees the old contents or the new. Nothing is synced: what a crash
/// of the host takes is made again by the next reserve.
fn write(path: &Path, value: &impl Serialize) -> Result<(), NetError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let bytes = serde_json::to_vec(value).map_err(io::Error::other);
    let written = bytes
        .and_then(|bytes| File::create(&new)?.write_all(&bytes))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        remove(&new)?;
    }
    written.map_err(NetError::file("write", path))
}

/// The id that a symbolic link of ours holds; `None` when there is no link, or none of ours.
fn link(path: &Path) -> Result<Option<BoxId>, NetError> {
    match fs::read_link(path) {
        Ok(target) => Ok(target.to_str().and_then(|id| id.parse().ok())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NetError::file("read", path)(error)),
    }
}

/// Removes a file; it is fine when it is not there.
fn remove(path: &Path) -> Result<(), NetError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(NetError::file("remove", path)),
    }
}
