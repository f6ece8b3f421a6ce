//! Makes the files of one layer.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use tar::EntryType;

use super::error::{EntryFault, UnpackError};
use super::name::{self, Place, Target};
use super::notes::Notes;
use super::reader::{Member, TarReader};
use super::sparse::Segment;
use super::tree::{Tree, is_folder};
use super::{Limits, Unpacked, check};

/// A whole number of blocks of every filesystem, so that a hole can begin and end at each.
const CHUNK: usize = 128 << 10;

/// Makes files in a [`Tree`] from the members of a stream.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    tree: Tree,
    limits: Limits,
    cancel: &'a AtomicBool,
    /// Whether owners can be set.
    root: bool,
    /// Modes and times of folders, which are set when nothing more comes into them.
    folders: BTreeMap<Vec<u8>, (Mode, Timestamps)>,
    notes: Notes,
    entries: u64,
    /// Bytes of files, holes included.
    bytes: u64,
    size: u64,
    opaque_root: bool,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(root: OwnedFd, limits: Limits, cancel: &'a AtomicBool) -> Self {
        Self {
            tree: Tree::new(root),
            limits,
            cancel,
            root: rustix::process::geteuid().is_root(),
            folders: BTreeMap::new(),
            notes: Notes::default(),
            entries: 0,
            bytes: 0,
            size: 0,
            opaque_root: false,
            buffer: vec![0; CHUNK],
        }
    }

    /// Makes what `member` says, with its data from `data`.
    pub(super) fn write<R: Read>(
        &mut self,
        member: Member,
        data: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        check(self.cancel)?;
        self.count(&member)?;
        let place =
            name::place(&member.path).map_err(|fault| UnpackError::refused(&member.path, fault))?;
        match place {
            Place::Bookkeeping => self.notes.bookkeeping += 1,
            Place::Whiteout(target) => self.tree.whiteout(&target)?,
            Place::Opaque { folder } => {
                self.opaque_root |= folder.is_empty();
                self.tree.opaque(&folder)?;
            }
            Place::Root => self.root_folder(&member)?,
            Place::At(target) => self.entry(&target, &member, data)?,
        }
        Ok(())
    }

    /// Sets what waited for the end. `globals` is how many global headers the stream had.
    pub(super) fn finish(mut self, globals: u64) -> Result<Unpacked, UnpackError> {
        self.notes.bookkeeping += globals;
        // Deepest first: without root, a folder may not be entered once it has its mode.
        for (path, (mode, times)) in self.folders.iter().rev() {
            let Some(folder) = self.tree.existing_folder(path)? else { continue };
            fs::fchmod(&folder, *mode)
                .and_then(|()| fs::futimens(&folder, times))
                .map_err(|errno| UnpackError::write("finish", path, errno))?;
        }
        let (entries, size, notes) = (self.entries, self.size, self.notes.sentences());
        Ok(Unpacked { entries, size, notes, opaque_root: self.opaque_root, end_marker: false })
    }

    fn count(&mut self, member: &Member) -> Result<(), UnpackError> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(member.size);
        let Limits { entries, bytes } = self.limits;
        if self.entries > entries {
            return Err(UnpackError::TooMuch { what: "entries", limit: entries });
        }
        if self.bytes > bytes {
            return Err(UnpackError::TooMuch { what: "bytes of files", limit: bytes });
        }
        Ok(())
    }

    fn root_folder(&mut self, member: &Member) -> Result<(), UnpackError> {
        if member.kind != EntryType::Directory {
            return Err(UnpackError::refused(&member.path, EntryFault::RootNotFolder));
        }
        let folder = self.tree.folder(b"")?;
        self.describe_folder(folder.as_fd(), Vec::new(), member)
    }

    fn entry<R: Read>(
        &mut self,
        target: &Target,
        member: &Member,
        data: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        match member.kind {
            EntryType::Directory => {
                let folder = self.tree.make_folder(target)?;
                self.describe_folder(folder.as_fd(), target.path(), member)
            }
            EntryType::Regular => self.file(target, member, data),
            EntryType::Link => self.hard_link(target, member),
            EntryType::Symlink => self.symlink(target, member),
            EntryType::Fifo => self.fifo(target, member),
            EntryType::Char | EntryType::Block => self.device(target, member),
            other => {
                let fault = EntryFault::UnknownType(char::from(other.as_byte()));
                Err(UnpackError::refused(&member.path, fault))
            }
        }
    }

    fn file<R: Read>(
        &mut self,
        target: &Target,
        member: &Member,
        data: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let parent = self.room(target)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file =
            fs::openat(&parent, &target.name[..], flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
                .map_err(|errno| UnpackError::write("create", &member.path, errno))?;
        let whole = [Segment { offset: 0, length: member.size }];
        for segment in member.sparse.as_deref().unwrap_or(&whole) {
            self.copy(file.as_fd(), *segment, member, data)?;
        }
        // The last hole has no byte behind it.
        fs::ftruncate(&file, member.size)
            .and_then(|()| self.own(file.as_fd(), member))
            .and_then(|()| self.set_xattrs(file.as_fd(), member))
            .and_then(|()| fs::fchmod(&file, mode(member)))
            .and_then(|()| fs::futimens(&file, &times(member)))
            .map_err(|errno| UnpackError::write("finish", &member.path, errno))
    }

    /// Copies one segment; chunks of zeros become holes.
    fn copy<R: Read>(
        &mut self,
        file: BorrowedFd<'_>,
        segment: Segment,
        member: &Member,
        data: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let failed = |error: io::Error| UnpackError::write("write", &member.path, error);
        fs::seek(file, SeekFrom::Start(segment.offset)).map_err(|errno| failed(errno.into()))?;
        let mut left = segment.length;
        while left > 0 {
            check(self.cancel)?;
            let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let chunk = &mut self.buffer[..wanted];
            data.read_exact(chunk).map_err(UnpackError::Read)?;
            left -= wanted as u64;
            if chunk.iter().all(|byte| *byte == 0) {
                let forward = i64::try_from(wanted).unwrap_or_default();
                fs::seek(file, SeekFrom::Current(forward)).map_err(|errno| failed(errno.into()))?;
            } else {
                write_all(file, chunk).map_err(|errno| failed(errno.into()))?;
                self.size += (wanted as u64).next_multiple_of(4096);
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, target: &Target, member: &Member) -> Result<(), UnpackError> {
        let refused = |fault| UnpackError::refused(&member.path, fault);
        let source = name::hard_link_target(&member.link).map_err(refused)?;
        let (from, stat) = self.tree.find(&source)?.ok_or_else(|| refused(EntryFault::NoTarget))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Symlink | FileType::Fifo) {
            return Err(refused(EntryFault::BadTarget));
        }
        if source == *target {
            return Ok(());
        }
        // Under a name of its own first: what makes room for it may hold its target.
        let parent = self.tree.folder(&target.parent)?;
        if let Some((_, old)) = self.tree.find(target)? {
            if (old.st_dev, old.st_ino) == (stat.st_dev, stat.st_ino) {
                return Ok(());
            }
            if is_folder(&old) && source.path().starts_with(&[&target.path()[..], b"/"].concat()) {
                return Err(refused(EntryFault::NoTarget));
            }
            self.room(target)?;
        }
        fs::linkat(&from, &source.name[..], &*parent, &target.name[..], AtFlags::empty())
            .map_err(|errno| UnpackError::write("link", &member.path, errno))
    }

    fn symlink(&mut self, target: &Target, member: &Member) -> Result<(), UnpackError> {
        if member.link.is_empty() || member.link.contains(&0) {
            return Err(UnpackError::refused(&member.path, EntryFault::BadLink));
        }
        let parent = self.room(target)?;
        fs::symlinkat(&member.link[..], &parent, &target.name[..])
            .map_err(|errno| UnpackError::write("link", &member.path, errno))?;
        self.drop_xattrs(member);
        self.describe(parent.as_fd(), target, member)
    }

    fn fifo(&mut self, target: &Target, member: &Member) -> Result<(), UnpackError> {
        let parent = self.room(target)?;
        fs::mknodat(&parent, &target.name[..], FileType::Fifo, Mode::RUSR, 0)
            .map_err(|errno| UnpackError::write("create", &member.path, errno))?;
        self.drop_xattrs(member);
        self.describe(parent.as_fd(), target, member)?;
        // Not a link, made a moment ago in a folder that is closed to everyone else.
        fs::chmodat(&parent, &target.name[..], mode(member), AtFlags::empty())
            .map_err(|errno| UnpackError::write("finish", &member.path, errno))
    }

    /// Boxes have a `/dev` of their own, so what a tarball has there is not missed.
    fn device(&mut self, target: &Target, member: &Member) -> Result<(), UnpackError> {
        let path = target.path();
        if !path.starts_with(b"dev/") {
            return Err(UnpackError::refused(&member.path, EntryFault::Device));
        }
        self.notes.devices += 1;
        Ok(())
    }

    /// The folder of `target`, with nothing at `target` any more.
    fn room(&mut self, target: &Target) -> Result<std::rc::Rc<OwnedFd>, UnpackError> {
        self.tree.make_room(target)?;
        self.forget_folders(&target.path());
        self.tree.folder(&target.parent)
    }

    /// What was remembered of a folder that something else has replaced.
    fn forget_folders(&mut self, path: &[u8]) {
        if self.folders.is_empty() {
            return;
        }
        let below = [path, b"/"].concat();
        let from = (Bound::Included(path.to_owned()), Bound::Unbounded);
        let gone = self.folders.range::<Vec<u8>, _>(from).map(|(path, _)| path);
        let gone = gone.take_while(|found| found.starts_with(path));
        let gone: Vec<_> =
            gone.filter(|found| *found == path || found.starts_with(&below)).cloned().collect();
        for path in gone {
            self.folders.remove(&path);
        }
    }

    fn describe_folder(
        &mut self,
        folder: BorrowedFd<'_>,
        path: Vec<u8>,
        member: &Member,
    ) -> Result<(), UnpackError> {
        self.own(folder, member)
            .and_then(|()| self.set_xattrs(folder, member))
            .map_err(|errno| UnpackError::write("finish", &member.path, errno))?;
        self.size += 4096;
        self.folders.insert(path, (mode(member), times(member)));
        Ok(())
    }

    /// Owner and times of what cannot be opened.
    fn describe(
        &mut self,
        parent: BorrowedFd<'_>,
        target: &Target,
        member: &Member,
    ) -> Result<(), UnpackError> {
        let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
        let owned = if self.note_owner(member) {
            fs::chownat(parent, &target.name[..], Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        } else {
            Ok(())
        };
        let times = times(member);
        owned
            .and_then(|()| {
                fs::utimensat(parent, &target.name[..], &times, AtFlags::SYMLINK_NOFOLLOW)
            })
            .map_err(|errno| UnpackError::write("finish", &member.path, errno))
    }

    fn own(&mut self, file: BorrowedFd<'_>, member: &Member) -> Result<(), Errno> {
        if self.note_owner(member) {
            fs::fchown(file, Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)))
        } else {
            Ok(())
        }
    }

    /// Whether the owner can be set; if not, and it matters, that is noted.
    fn note_owner(&mut self, member: &Member) -> bool {
        if !self.root && (member.uid, member.gid) != (0, 0) {
            self.notes.owners += 1;
        }
        self.root
    }

    fn set_xattrs(&mut self, file: BorrowedFd<'_>, member: &Member) -> Result<(), Errno> {
        for (name, value) in &member.xattrs {
            let kept = is_kept(name, value);
            let set = kept.then(|| fs::fsetxattr(file, &name[..], value, XattrFlags::empty()));
            match set {
                Some(Ok(())) => {}
                // The filesystem has none, or no room for one of this size, or it takes root.
                None | Some(Err(Errno::OPNOTSUPP | Errno::PERM | Errno::TOOBIG | Errno::RANGE)) => {
                    self.drop_xattr(name);
                }
                Some(Err(Errno::NOSPC)) if value.len() > 1024 => self.drop_xattr(name),
                Some(Err(errno)) => return Err(errno),
            }
        }
        Ok(())
    }

    fn drop_xattrs(&mut self, member: &Member) {
        member.xattrs.iter().for_each(|(name, _)| self.drop_xattr(name));
    }

    fn drop_xattr(&mut self, name: &[u8]) {
        *self.notes.xattrs.entry(super::error::printable(name)).or_default() += 1;
    }
}

/// Attributes that mean the same in a box. `user.overlay.*` is between us and overlayfs;
/// `security.*` and `trusted.*` are the host's, except a capability, and of these only the form
/// whose root is the filesystem's own.
fn is_kept(name: &[u8], value: &[u8]) -> bool {
    const CAPABILITY_V2: usize = 20;
    let named = !name.contains(&0);
    let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    named && (user || (name == b"security.capability" && value.len() == CAPABILITY_V2))
}

fn mode(member: &Member) -> Mode {
    Mode::from_raw_mode(member.mode & 0o7777)
}

fn times(member: &Member) -> Timestamps {
    let time = Timespec { tv_sec: member.mtime.seconds, tv_nsec: member.mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
