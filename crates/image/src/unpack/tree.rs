//! The folder into which a layer is unpacked, and the only door to it.
//!
//! Every path is resolved by the kernel with `RESOLVE_IN_ROOT`, so links in a layer lead to places
//! in that layer, whatever they say and whoever changes them meanwhile. Last parts are never
//! followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags, fsetxattr, mkdirat,
    mknodat, openat2, statat,
};
use rustix::io::Errno;

use super::error::{EntryFault, UnpackError};
use super::name::Target;
use crate::tree::remove_at;

/// Marks a folder that hides what the layers below have in it, for an overlay mounted with
/// `userxattr`, the only one that a user namespace can mount.
const OPAQUE: &str = "user.overlay.opaque";

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A folder that is being filled.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    /// The folder of the last entry: members of one folder mostly come together.
    recent: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, recent: None }
    }

    /// Opens the folder `path`, made with its parents when missing.
    pub(super) fn folder(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, UnpackError> {
        if let Some((_, folder)) = self.recent.as_ref().filter(|(recent, _)| recent == path) {
            return Ok(Rc::clone(folder));
        }
        let folder = match self.open(path, FOLDER) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_folders(path)?,
            Err(errno) => return Err(folder_error(path, errno)),
        };
        let folder = Rc::new(folder);
        self.recent = Some((path.to_owned(), Rc::clone(&folder)));
        Ok(folder)
    }

    /// Opens the folder `path`; `None` when there is none any more.
    pub(super) fn existing_folder(&self, path: &[u8]) -> Result<Option<OwnedFd>, UnpackError> {
        match self.open(path, FOLDER | OFlags::NOFOLLOW) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(folder_error(path, errno)),
        }
    }

    /// Makes the folder `target`, or takes the one that is there. A whiteout or anything else that
    /// is in its way goes.
    pub(super) fn make_folder(&mut self, target: &Target) -> Result<OwnedFd, UnpackError> {
        let path = target.path();
        let parent = self.folder(&target.parent)?;
        let mut hides = false;
        if let Some(stat) = look(parent.as_fd(), target)? {
            if is_folder(&stat) {
                let open = fs::openat(
                    &*parent,
                    &target.name[..],
                    FOLDER | OFlags::NOFOLLOW,
                    Mode::empty(),
                );
                return open.map_err(|errno| UnpackError::write("open", &path, errno));
            }
            hides = is_whiteout(&stat);
            self.remove(parent.as_fd(), target)?;
        }
        self.new_folder(parent.as_fd(), &target.name, hides)
            .map_err(|errno| UnpackError::write("make", &path, errno))
    }

    /// Removes what is at `target`, a whole tree if need be, so that something else can be there.
    pub(super) fn make_room(&mut self, target: &Target) -> Result<(), UnpackError> {
        let parent = self.folder(&target.parent)?;
        if look(parent.as_fd(), target)?.is_some() {
            self.remove(parent.as_fd(), target)?;
        }
        Ok(())
    }

    /// Hides `target` of the layers below. What this layer itself has there stays; a folder then
    /// hides what is below it.
    pub(super) fn whiteout(&mut self, target: &Target) -> Result<(), UnpackError> {
        let parent = self.folder(&target.parent)?;
        match look(parent.as_fd(), target)? {
            Some(stat) if is_folder(&stat) => self.opaque(&target.path()),
            Some(_) => Ok(()),
            None => {
                mknodat(&*parent, &target.name[..], FileType::CharacterDevice, Mode::empty(), 0)
                    .map_err(|errno| UnpackError::write("hide", &target.path(), errno))
            }
        }
    }

    /// Hides everything that the layers below have in the folder `path`.
    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let folder = self.folder(path)?;
        fsetxattr(&*folder, OPAQUE, b"y", XattrFlags::empty())
            .map_err(|errno| UnpackError::write("make opaque", path, errno))
    }

    /// What is at `target` and the folder it is in, without making anything.
    pub(super) fn find(&self, target: &Target) -> Result<Option<(OwnedFd, Stat)>, UnpackError> {
        let parent = match self.open(&target.parent, FOLDER) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(folder_error(&target.parent, errno)),
        };
        Ok(look(parent.as_fd(), target)?.map(|stat| (parent, stat)))
    }

    /// Makes the parts of `path` that are missing. Slow and rare: well-made streams name each
    /// folder before what is in it.
    fn make_folders(&self, path: &[u8]) -> Result<OwnedFd, UnpackError> {
        let fail = |errno| folder_error(path, errno);
        let mut folder = self.open(b"", FOLDER).map_err(fail)?;
        for (end, _) in path.iter().chain(b"/").enumerate().filter(|(_, byte)| **byte == b'/') {
            let so_far = &path[..end];
            let name = so_far.rsplit(|byte| *byte == b'/').next().unwrap_or(so_far);
            let made = match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => self.new_folder(folder.as_fd(), name, false),
                Ok(stat) if is_whiteout(&stat) => fs::unlinkat(&folder, name, AtFlags::empty())
                    .and_then(|()| self.new_folder(folder.as_fd(), name, true)),
                Ok(_) => self.open(so_far, FOLDER),
                Err(errno) => Err(errno),
            };
            folder = made.map_err(fail)?;
        }
        Ok(folder)
    }

    fn new_folder(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        hides: bool,
    ) -> Result<OwnedFd, Errno> {
        // Unaffected by the umask: the mode that users see is set at the end.
        mkdirat(parent, name, Mode::RWXU)?;
        let folder = fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        fs::fchmod(&folder, Mode::from_raw_mode(0o755))?;
        if hides {
            fsetxattr(&folder, OPAQUE, b"y", XattrFlags::empty())?;
        }
        Ok(folder)
    }

    fn remove(&mut self, parent: BorrowedFd<'_>, target: &Target) -> Result<(), UnpackError> {
        // The folder that is remembered may be below what goes.
        self.recent = None;
        remove_at(parent, &target.name)
            .map_err(|errno| UnpackError::write("replace", &target.path(), errno))
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Something was renamed on the way, anywhere on the machine.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }
}

fn look(parent: BorrowedFd<'_>, target: &Target) -> Result<Option<Stat>, UnpackError> {
    match statat(parent, &target.name[..], AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(UnpackError::write("look at", &target.path(), errno)),
    }
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// A path that runs through something that is no folder is the stream's fault, the rest the disk's.
fn folder_error(path: &[u8], errno: Errno) -> UnpackError {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => {
            UnpackError::refused(path, EntryFault::NotAFolder)
        }
        Errno::NAMETOOLONG => UnpackError::refused(path, EntryFault::TooLong),
        errno => UnpackError::write("open", path, errno),
    }
}
