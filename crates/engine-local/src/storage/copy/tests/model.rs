//! Trees as values: any that a box can make, made for real, and looked at.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, SeekFrom, Timespec, Timestamps, Uid, XattrFlags, chmodat,
    chownat, lgetxattr, llistxattr, lsetxattr, mknodat, seek, utimensat,
};

const BLOCK: u64 = 4096;

/// A folder and all in it.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    entries: BTreeMap<Vec<u8>, Entry>,
    dress: Dress,
    /// More names, in the tree's top, of whatever is no folder.
    links: Vec<Index>,
}

#[derive(Debug, Clone)]
struct Entry {
    what: What,
    dress: Dress,
}

#[derive(Debug, Clone)]
enum What {
    /// Blocks that are written, of so many, and bytes after the last block.
    File {
        written: Vec<bool>,
        rest: u16,
    },
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    Whiteout,
    Folder(BTreeMap<Vec<u8>, Entry>),
}

#[derive(Debug, Clone)]
struct Dress {
    mode: u16,
    uid: u32,
    gid: u32,
    /// Last access and last modification.
    times: [(u32, u32); 2],
    attributes: BTreeMap<&'static str, Vec<u8>>,
}

/// Any tree.
pub(super) fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        4 => (vec(any::<bool>(), 0..12), 0..4096_u16)
            .prop_map(|(written, rest)| What::File { written, rest }),
        2 => text(200).prop_map(What::Symlink),
        1 => Just(What::Fifo),
        1 => Just(What::Socket),
        1 => Just(What::Whiteout),
        1 => Just(What::Folder(BTreeMap::new())),
    ];
    let what = leaf.prop_recursive(5, 60, 8, |inner| entries(inner).prop_map(What::Folder));
    (entries(what), dress(), vec(any::<Index>(), 0..4)).prop_map(|(entries, dress, links)| Tree {
        entries,
        dress,
        links,
    })
}

fn entries(what: impl Strategy<Value = What>) -> impl Strategy<Value = BTreeMap<Vec<u8>, Entry>> {
    let entry = (what, dress()).prop_map(|(what, dress)| Entry { what, dress });
    btree_map(name(), entry, 0..8)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let odd = ["...", "-rf", "new\nline", " ", "\\", "*", "ü", ".wh.gone", "\u{7f}"];
    let odd = proptest::sample::select(odd.map(|name| name.as_bytes().to_vec()).to_vec());
    let long = any::<u8>().prop_filter("no separator", is_plain).prop_map(|byte| vec![byte; 255]);
    let name = prop_oneof![odd, text(20), long];
    name.prop_filter("a name", |name| name != b"." && name != b"..")
}

fn text(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>().prop_filter("no separator", is_plain), 1..longest)
}

fn is_plain(byte: &u8) -> bool {
    !matches!(byte, 0 | b'/')
}

fn dress() -> impl Strategy<Value = Dress> {
    const NAMES: &[&str] = &["user.one", "user.two", "user.overlay.opaque", "trusted.three"];
    let attributes = btree_map(proptest::sample::select(NAMES), vec(any::<u8>(), 0..64), 0..3);
    let capability = option::weighted(0.2, Just(CAPABILITY.to_vec()));
    let times = any::<[(u32, u32); 2]>();
    (0..0o10000_u16, 0..70_000_u32, 0..70_000_u32, times, attributes, capability).prop_map(
        |(mode, uid, gid, times, mut attributes, capability)| {
            attributes.extend(capability.map(|value| ("security.capability", value)));
            let times =
                times.map(|(seconds, nanos)| (seconds & 0x7fff_ffff, nanos % 1_000_000_000));
            Dress { mode, uid, gid, times, attributes }
        },
    )
}

/// `cap_net_raw+ep`, in the second version of the kernel's layout.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl Tree {
    /// Makes the tree in the empty folder `at`.
    pub(super) fn make(&self, at: &Path) {
        let mut files = Vec::new();
        make_all(&self.entries, at, &mut files);
        for (number, link) in self.links.iter().enumerate().filter(|_| !files.is_empty()) {
            // A name that no entry has, since theirs begin otherwise or are shorter.
            let name = at.join(format!("another name, the {number}th"));
            fs::hard_link(link.get(&files), name).unwrap();
        }
        self.dress.put_on(at, true, false);
    }
}

fn make_all(entries: &BTreeMap<Vec<u8>, Entry>, at: &Path, files: &mut Vec<PathBuf>) {
    for (name, Entry { what, dress }) in entries {
        let path = at.join(OsStr::from_bytes(name));
        what.make(&path, files);
        let is_symlink = matches!(what, What::Symlink(_));
        let has_bytes = matches!(what, What::File { .. } | What::Folder(_));
        dress.put_on(&path, has_bytes, is_symlink);
        if !matches!(what, What::Folder(_) | What::Socket) {
            files.push(path);
        }
    }
}

impl What {
    fn make(&self, path: &Path, files: &mut Vec<PathBuf>) {
        let node = |kind| mknodat(CWD, path, kind, Mode::RUSR, 0).unwrap();
        match self {
            Self::File { written, rest } => make_file(path, written, *rest),
            Self::Symlink(target) => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), path).unwrap();
            }
            Self::Fifo => node(FileType::Fifo),
            Self::Whiteout => node(FileType::CharacterDevice),
            Self::Socket => node(FileType::Socket),
            Self::Folder(entries) => {
                fs::create_dir(path).unwrap();
                make_all(entries, path, files);
            }
        }
    }
}

fn make_file(path: &Path, written: &[bool], rest: u16) {
    let file = File::create(path).unwrap();
    for (block, _) in (0_u64..).zip(written).filter(|(_, written)| **written) {
        let byte = u8::try_from(block).unwrap() + 1;
        file.write_all_at(&[byte; BLOCK as usize], block * BLOCK).unwrap();
    }
    file.set_len(written.len() as u64 * BLOCK + u64::from(rest)).unwrap();
}

impl Dress {
    fn put_on(&self, path: &Path, has_bytes: bool, is_symlink: bool) {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
        for (name, value) in self.attributes.iter().filter(|_| has_bytes) {
            if *name != "security.capability" || path.is_file() {
                lsetxattr(path, *name, value, XattrFlags::empty()).unwrap();
            }
        }
        if !is_symlink {
            let mode = Mode::from_raw_mode(u32::from(self.mode));
            chmodat(CWD, path, mode, AtFlags::empty()).unwrap();
        }
        let [access, modification] = self.times.map(|(seconds, nanos)| Timespec {
            tv_sec: i64::from(seconds),
            tv_nsec: i64::from(nanos),
        });
        let times = Timestamps { last_access: access, last_modification: modification };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// What is to be seen of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    modified: (i64, i64),
    /// Of a file; reading the others changes theirs.
    accessed: Option<(i64, i64)>,
    content: Vec<u8>,
    /// Where the data of a file with holes is, from block to block.
    data: Vec<(u64, u64)>,
    attributes: BTreeMap<OsString, Vec<u8>>,
    /// The first name of what has several.
    first_name: Option<PathBuf>,
}

/// Everything below `root` but sockets, by its path; the root's path is empty.
pub(super) fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut names = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full).unwrap();
        if metadata.file_type().is_socket() {
            continue;
        }
        if metadata.is_dir() {
            let entries = fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name());
            waiting.extend(entries.map(|name| path.join(name)));
        } else if metadata.nlink() > 1 {
            names.entry(metadata.ino()).or_insert_with(Vec::new).push(path.clone());
        }
        seen.insert(path, see(&full, &metadata));
    }
    for mut names in names.into_values() {
        names.sort();
        for name in &names {
            seen.get_mut(name).unwrap().first_name = names.first().cloned();
        }
    }
    seen
}

fn see(path: &Path, metadata: &fs::Metadata) -> Seen {
    let (mut content, mut data) = (Vec::new(), Vec::new());
    if metadata.is_symlink() {
        content = fs::read_link(path).unwrap().into_os_string().into_vec();
    } else if metadata.is_file() {
        const NO_ATIME: i32 = rustix::fs::OFlags::NOATIME.bits().cast_signed();
        let mut file = OpenOptions::new().read(true).custom_flags(NO_ATIME).open(path).unwrap();
        file.read_to_end(&mut content).unwrap();
        // The blocks of attributes count too; a file with as many as it has bytes is copied whole.
        if metadata.blocks() * 512 < metadata.size() {
            data = segments(&file);
        }
    }
    Seen {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        device: metadata.rdev(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        accessed: metadata.is_file().then(|| (metadata.atime(), metadata.atime_nsec())),
        content,
        data,
        attributes: attributes(path),
        first_name: None,
    }
}

fn segments(file: &File) -> Vec<(u64, u64)> {
    let mut segments = Vec::new();
    let mut end = 0;
    while let Ok(start) = seek(file, SeekFrom::Data(end)) {
        end = seek(file, SeekFrom::Hole(start)).unwrap();
        segments.push((start, end));
    }
    segments
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let (mut names, mut value) = ([0; 4096], [0; 4096]);
    let length = llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let read = |name: &[u8]| {
        let name = OsStr::from_bytes(name);
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        (name.to_owned(), value[..length].to_vec())
    };
    names.map(read).collect()
}
