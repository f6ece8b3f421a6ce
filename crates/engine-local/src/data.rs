//! What lies where in the data folder.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use boxherd_engine::fault;
use boxherd_model::BoxId;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::root::skeleton;
use crate::storage;

/// The data folder of one installation.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    root: PathBuf,
    /// 32 hex digits that tell our groups, tables and devices from others'.
    installation: String,
}

/// The folders that are made with the data folder.
const FOLDERS: [&str; 4] = ["agent", "boxes", "layers", "uids"];

/// In how many folders those of boxes are made, each somewhere else on the disk.
const SHELVES: u8 = 32;

/// Makes the folder of the shelves and one of them. ext4 puts each folder in one that is marked so elsewhere
/// (chattr(1), `T`), and files where their folder was made.
fn make_shelf(shelf: &Path, all: &Path) -> io::Result<()> {
    fs::create_dir_all(all)?;
    let marked = File::open(all).and_then(|all| {
        let flags = ioctl_getflags(&all)?;
        Ok(ioctl_setflags(&all, flags | IFlags::TOPDIR)?)
    });
    if let Err(error) = marked {
        // Other filesystems have no such thing, and no use for it.
        tracing::debug!(%error, folder = %all.display(), "not scattered");
    }
    match fs::create_dir(shelf) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// What is made last.
const LAST: &str = FOLDERS[FOLDERS.len() - 1];

/// A folder that others use must not become ours, whose mode shuts everybody out: think of `/etc`.
fn check_unused(root: &Path) -> io::Result<()> {
    let mut strange = None;
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        // Another process may be making it at the same time.
        if name == LAST {
            return Ok(());
        }
        let mut known = ["lost+found"].iter().chain(&FOLDERS).chain(&storage::POOL_FILES);
        if !known.any(|known| name == *known) {
            strange = Some(name);
        }
    }
    let Some(name) = strange else { return Ok(()) };
    let message = format!("it holds no boxes but other files, such as `{}`", name.display());
    Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, message))
}

impl Data {
    /// Opens the folder, and makes what is missing of it.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        if !root.join(LAST).is_dir() {
            make(root)?;
            check_unused(root)?;
            // Layers hold files that belong to root and may be set-user-id.
            fs::set_permissions(root, fs::Permissions::from_mode(0o700))?;
            FOLDERS.iter().try_for_each(|folder| make(&root.join(folder)))?;
        }
        let root = root.canonicalize()?;
        let installation = installation(&root)?;
        Ok(Self { root, installation })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn installation(&self) -> &str {
        &self.installation
    }

    pub(crate) fn boxes(&self) -> PathBuf {
        self.root.join("boxes")
    }

    pub(crate) fn fences(&self) -> PathBuf {
        self.root.join("fences")
    }

    pub(crate) fn uids(&self) -> PathBuf {
        self.root.join("uids")
    }

    pub(crate) fn disks(&self) -> PathBuf {
        self.root.join("disks")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The lowest layer of every box with the image `host`.
    pub(crate) fn skeleton(&self) -> PathBuf {
        self.root.join(skeleton::NAME)
    }

    /// Device files for every box to share.
    pub(crate) fn devices(&self) -> PathBuf {
        self.root.join("dev")
    }

    pub(crate) fn of(&self, id: BoxId) -> BoxFolder {
        BoxFolder { path: self.boxes().join(id.to_string()) }
    }

    /// Makes the folder of a box, which must not be there.
    ///
    /// ext4 does not use an inode again at once, but passes over all that were freed beside it in the last
    /// minutes: where many boxes come and go, a new file took 0.7 ms. So boxes are scattered over the disk.
    pub(crate) fn make_folder(&self, id: BoxId) -> io::Result<()> {
        let made = self.on_shelf(id);
        match fs::create_dir(&made) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let shelf = made.parent().unwrap_or(&self.root);
                make_shelf(shelf, &self.shelves())?;
                fs::create_dir(&made)?;
            }
            made => made?,
        }
        fault::point("create.shelf");
        // That of a box is never empty, so that nothing takes its place.
        fs::rename(&made, self.of(id).path()).inspect_err(|_| drop(fs::remove_dir(&made)))
    }

    /// Removes what there is of a folder that was being made.
    pub(crate) fn remove_unmade(&self, id: BoxId) -> io::Result<()> {
        match fs::remove_dir(self.on_shelf(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn shelves(&self) -> PathBuf {
        self.root.join("shelves")
    }

    fn on_shelf(&self, id: BoxId) -> PathBuf {
        let shelf = id.as_bytes()[15] % SHELVES;
        self.shelves().join(shelf.to_string()).join(id.to_string())
    }

    /// The agent's file, written when it is not there. Nobody but root may read it, so that the
    /// kernel lets nobody else look into a process that executes it.
    pub(crate) fn agent(&self, bytes: &[u8], sha256: &str) -> io::Result<PathBuf> {
        self.executable(sha256, bytes, 0o711)
    }

    /// The same for boxes with a kernel of their own, which can execute only what it can read.
    pub(crate) fn readable_agent(&self, bytes: &[u8], sha256: &str) -> io::Result<PathBuf> {
        self.executable(&format!("{sha256}-readable"), bytes, 0o755)
    }

    fn executable(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
        let path = self.root.join("agent").join(name);
        if path.exists() {
            return Ok(path);
        }
        let draft = path.with_extension(std::process::id().to_string());
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        drop(file);
        fs::rename(draft, &path)?;
        Ok(path)
    }
}

/// The folder of one box, `boxes/ID`.
#[derive(Debug, Clone)]
pub(crate) struct BoxFolder {
    path: PathBuf,
}

impl BoxFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What `start` needs; there once the box is whole.
    pub(crate) fn record(&self) -> PathBuf {
        self.path.join("box.json")
    }

    /// The same while the box is being made.
    pub(crate) fn draft(&self) -> PathBuf {
        self.path.join("draft.json")
    }

    /// Its id, for the claim of its host ids.
    pub(crate) fn claimant(&self) -> PathBuf {
        self.path.join("id")
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.path.join("runtime.json")
    }

    pub(crate) fn ended(&self) -> PathBuf {
        self.path.join("ended.json")
    }

    /// Where the agent says how the main program ended.
    pub(crate) fn exit(&self) -> PathBuf {
        self.path.join("exit")
    }

    /// There once the box has an identity of its own: machine id, SSH host keys.
    pub(crate) fn identity(&self) -> PathBuf {
        self.path.join("identity")
    }

    /// Where the memory of a box with a kernel of its own is saved.
    pub(crate) fn memory(&self) -> PathBuf {
        self.path.join("memory")
    }

    /// The agent that it executes, which is the same for as long as the memory is brought back.
    pub(crate) fn agent(&self) -> PathBuf {
        self.path.join("agent")
    }

    /// Where its warden takes orders.
    pub(crate) fn orders(&self) -> PathBuf {
        self.path.join(ORDERS)
    }

    /// The names of disks that may be attached to it.
    pub(crate) fn disks(&self) -> PathBuf {
        self.path.join("disks")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }
}

/// The agent's listener in a box's folder.
pub(crate) const SOCKET: &str = "link.sock";

/// The listener of a box's warden, likewise.
pub(crate) const ORDERS: &str = "orders.sock";

/// The id of the installation, made once, by whoever is first.
fn installation(root: &Path) -> io::Result<String> {
    let path = root.join("installation");
    loop {
        match fs::read_to_string(&path) {
            Ok(id) if id.trim().len() == 32 => return Ok(id.trim().to_owned()),
            Ok(_) => return Err(io::Error::other(format!("`{}` is damaged", path.display()))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let draft = root.join(format!("installation.{}", std::process::id()));
        fs::write(&draft, format!("{id}\n"))?;
        match fs::hard_link(&draft, &path) {
            // Somebody else was first; theirs is read in the next round.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::remove_file(draft)?,
        }
    }
}
