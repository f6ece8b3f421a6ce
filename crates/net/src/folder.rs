//! What is on disk, below `DATA/net`:
//!
//! ```text
//! lock                  held while a network is made
//! networks/NAME.json    a network's number and subnet
//! leases/ID.json        a box's lease
//! slots/001-0ff         the same file under its address: the claim
//! names/001-web         the same file under its name, for netd
//! spares/00 … 3f        files of released leases
//! netd.lock netd.log    held, and written, by netd
//! ```
//!
//! A claim is made by linking, which fails when the name is taken; so no two processes ever lease
//! the same address, without a lock. And it is links because making and removing a file are the
//! dearest steps of all: 0.3 to 3 ms on an ext4 on which many come and go, and 0.02 ms for a link.
//! For the same reason the file of a released lease is kept, and becomes that of another one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
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
pub(crate) const FOLDERS: [&str; 5] = ["networks", "leases", "slots", "names", "spares"];

/// The most files that are kept for leases to come.
const SPARES: u16 = 64;

/// How many of them are looked for before a file is made.
const LOOKED_FOR: u16 = 8;

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

    /// Writes down a new lease: the first that `make` gives for one of `slots` that is free. `None`
    /// when no slot is.
    pub(crate) fn write_first_free(
        &self,
        slots: impl Iterator<Item = u16>,
        make: impl Fn(u16) -> Lease,
    ) -> Result<Option<Lease>, NetError> {
        for slot in slots {
            let lease = make(slot);
            let draft = self.draft(&lease)?;
            if self.claim(&draft, &lease)? {
                self.publish(&draft, &lease)?;
                return Ok(Some(lease));
            }
            remove(&draft)?;
        }
        Ok(None)
    }

    /// Writes down that a box holds its address under other terms.
    pub(crate) fn rewrite(&self, old: &Lease, new: &Lease) -> Result<(), NetError> {
        let draft = self.draft(new)?;
        replace(&draft, &self.slot_path(new.index, new.slot))?;
        if old.name != new.name {
            self.remove_name(old)?;
        }
        self.publish(&draft, new)
    }

    /// Takes a lease away, but not the claim.
    pub(crate) fn remove_lease(&self, lease: &Lease) -> Result<(), NetError> {
        self.remove_name(lease)?;
        remove(&self.lease_path(lease.id))
    }

    /// Gives a claim up. It is the last name of the file, so the file is spare.
    pub(crate) fn free(&self, lease: &Lease) -> Result<(), NetError> {
        let path = self.slot_path(lease.index, lease.slot);
        if read::<Lease>(&path)?.is_some_and(|held| held.id != lease.id) {
            return Ok(());
        }
        match fs::rename(&path, self.spare_path(lease.slot)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            kept => kept.map_err(NetError::file("free", path)),
        }
    }

    /// The lease of the box with an address.
    pub(crate) fn holder(&self, index: u16, slot: u16) -> Result<Option<Lease>, NetError> {
        read(&self.slot_path(index, slot))
    }

    /// The lease of the box of that name.
    pub(crate) fn named(&self, index: u16, name: &str) -> Result<Option<Lease>, NetError> {
        match name.parse::<BoxName>() {
            Ok(name) => read(&self.name_path(index, &name)),
            Err(_) => Ok(None),
        }
    }

    /// Whether no box has a lease.
    pub(crate) fn has_no_lease(&self) -> Result<bool, NetError> {
        Ok(self.entries("leases")?.is_empty())
    }

    /// Removes what `keeps` does not want of the claims, the names and the drafts of leases.
    pub(crate) fn sweep(&self, keeps: impl Fn(BoxId) -> bool) -> Result<(), NetError> {
        for path in [self.entries("slots")?, self.entries("names")?].concat() {
            let lease = read::<Lease>(&path).ok().flatten();
            if lease.is_none_or(|lease| !keeps(lease.id)) {
                remove(&path)?;
            }
        }
        for path in self.listed("leases")? {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let id = name.split('.').next().and_then(|id| id.parse().ok());
            if id.is_none_or(|id| !keeps(id)) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// A lease as a file that nobody looks for.
    fn draft(&self, lease: &Lease) -> Result<PathBuf, NetError> {
        let draft = new(&self.lease_path(lease.id));
        let near = (0..LOOKED_FOR).map(|step| self.spare_path(lease.slot.wrapping_add(step)));
        // Whoever renames it has it; when there is none, `fill` makes a file.
        near.into_iter().any(|spare| fs::rename(spare, &draft).is_ok());
        fill(&draft, lease)?;
        Ok(draft)
    }

    fn spare_path(&self, slot: u16) -> PathBuf {
        self.0.join(format!("spares/{:02x}", slot % SPARES))
    }

    /// Claims the address of a lease; whether it was free, or was this box's already.
    fn claim(&self, draft: &Path, lease: &Lease) -> Result<bool, NetError> {
        let path = self.slot_path(lease.index, lease.slot);
        match fs::hard_link(draft, &path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // What a crash has left half made is taken over. One that cannot be read is somebody's.
                let own = read::<Lease>(&path).ok().flatten().is_some_and(|l| l.id == lease.id);
                if own {
                    replace(draft, &path)?;
                }
                Ok(own)
            }
            Err(error) => Err(NetError::file("claim", path)(error)),
        }
    }

    /// Lets a lease be found by its name and by its box. Names are unique among the living, so one
    /// that is there already is of a box that is gone, or of this one.
    fn publish(&self, draft: &Path, lease: &Lease) -> Result<(), NetError> {
        replace(draft, &self.name_path(lease.index, &lease.name))?;
        let path = self.lease_path(lease.id);
        fs::rename(draft, &path).map_err(NetError::file("write", path))
    }

    /// Lets a box not be found by its name any more, unless another has it by now.
    fn remove_name(&self, lease: &Lease) -> Result<(), NetError> {
        let path = self.name_path(lease.index, &lease.name);
        match read::<Lease>(&path)? {
            Some(found) if found.id == lease.id => remove(&path),
            _ => Ok(()),
        }
    }

    fn lease_path(&self, id: BoxId) -> PathBuf {
        self.0.join(format!("leases/{id}.json"))
    }

    fn slot_path(&self, index: u16, slot: u16) -> PathBuf {
        self.0.join(format!("slots/{index:03x}-{slot:03x}"))
    }

    fn name_path(&self, index: u16, name: &BoxName) -> PathBuf {
        self.0.join(format!("names/{index:03x}-{name}"))
    }

    /// The files of a folder, without those that are being written.
    fn entries(&self, name: &str) -> Result<Vec<PathBuf>, NetError> {
        let mut paths = self.listed(name)?;
        paths.retain(|path| path.extension().is_none_or(|extension| extension != "new"));
        paths.sort();
        Ok(paths)
    }

    fn listed(&self, name: &str) -> Result<Vec<PathBuf>, NetError> {
        let path = self.0.join(name);
        let listed = match fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect()),
        };
        listed.map_err(NetError::file("list", path))
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
    let new = new(path);
    fill(&new, value)?;
    fs::rename(&new, path).map_err(NetError::file("write", path))
}

/// The name under which a file is written before it gets its own.
fn new(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}

fn fill(path: &Path, value: &impl Serialize) -> Result<(), NetError> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::other);
    // Cut to its length afterwards: ext4 writes out a file at once that was emptied first.
    let options = OpenOptions::new().write(true).create(true).truncate(false).clone();
    let written = bytes.and_then(|bytes| {
        let mut file = options.open(path)?;
        file.write_all(&bytes)?;
        file.set_len(bytes.len() as u64)
    });
    if written.is_err() {
        remove(path)?;
    }
    written.map_err(NetError::file("write", path))
}

/// Links a file under another name, whatever is there.
fn replace(from: &Path, to: &Path) -> Result<(), NetError> {
    let linked = match fs::hard_link(from, to) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let new = new(to);
            fs::hard_link(from, &new).and_then(|()| fs::rename(&new, to))
        }
        linked => linked,
    };
    linked.map_err(NetError::file("write", to))
}

/// Removes a file; it is fine when it is not there.
fn remove(path: &Path) -> Result<(), NetError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(NetError::file("remove", path)),
    }
}
