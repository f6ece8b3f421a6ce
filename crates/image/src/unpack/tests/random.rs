//! Any honest tree comes out as it went in; any bytes stay in the folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Folder(u32),
    File(u32, Vec<u8>),
    Link(String),
}

fn thing() -> impl Strategy<Value = Thing> {
    let mode = || 0..0o10000_u32;
    prop_oneof![
        // Folders that we can look into afterwards without being root.
        mode().prop_map(|mode| Thing::Folder(mode | 0o700)),
        (mode(), proptest::collection::vec(any::<u8>(), 0..2000))
            .prop_map(|(mode, data)| Thing::File(mode | 0o600, data)),
        "[a-z./]{1,120}".prop_map(Thing::Link),
    ]
}

/// Trees whose inner nodes are folders.
fn tree() -> impl Strategy<Value = BTreeMap<String, Thing>> {
    let name = "[a-zA-Z0-9 _-]{1,12}";
    let path = proptest::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
    proptest::collection::btree_map(path, thing(), 0..24).prop_map(|things| {
        let mut tree: BTreeMap<String, Thing> = BTreeMap::new();
        for (path, thing) in things {
            let parents: Vec<&str> = path.match_indices('/').map(|(end, _)| &path[..end]).collect();
            let fits = parents
                .iter()
                .all(|p| !matches!(tree.get(*p), Some(Thing::File(..) | Thing::Link(_))));
            if fits && !tree.contains_key(&path) {
                for parent in parents {
                    tree.entry(parent.to_owned()).or_insert(Thing::Folder(0o755));
                }
                tree.insert(path, thing);
            }
        }
        tree
    })
}

fn pack(tree: &BTreeMap<String, Thing>) -> Vec<u8> {
    tree.iter()
        .fold(Tape::new(), |tape, (path, thing)| {
            let name = path.as_bytes();
            match thing {
                Thing::Folder(mode) => {
                    tape.entry(&Head { mode: *mode, ..Head::new(b'5', name) }, b"")
                }
                Thing::File(mode, data) => {
                    let size = data.len() as u64;
                    tape.entry(&Head { mode: *mode, size, ..Head::new(b'0', name) }, data)
                }
                Thing::Link(to) => tape.symlink(path, to),
            }
        })
        .end()
}

fn read_back(root: &Path, below: &str, into: &mut BTreeMap<String, Thing>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let found = entry.metadata().unwrap();
        let mode = found.permissions().mode() & 0o7777;
        let thing = if found.is_dir() {
            read_back(root, &path, into);
            Thing::Folder(mode)
        } else if found.is_symlink() {
            let to = fs::read_link(entry.path()).unwrap();
            Thing::Link(to.into_os_string().into_string().unwrap())
        } else {
            Thing::File(mode, fs::read(entry.path()).unwrap())
        };
        into.insert(path, thing);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_tree_comes_out_as_it_went_in(tree in tree()) {
        let yard = Yard::new();
        yard.unpack(&pack(&tree)).unwrap();
        let mut found = BTreeMap::new();
        read_back(&yard.root(), "", &mut found);
        prop_assert_eq!(found, tree);
    }

    #[test]
    fn bytes_that_are_no_tar_stream_stay_in_the_folder(
        bytes in proptest::collection::vec(any::<u8>(), 0..4096),
    ) {
        let yard = Yard::new();
        let unpacked = yard.unpack(&bytes);
        prop_assert!(unpacked.is_err() || bytes.len() < 512 || bytes[..512].iter().all(|b| *b == 0));
        yard.assert_contained();
    }

    #[test]
    fn a_damaged_stream_stays_in_the_folder(
        tree in tree(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        fix in any::<bool>(),
    ) {
        let yard = Yard::new();
        let mut bytes = pack(&tree);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if fix {
                mend_checksum(&mut bytes, at / 512 * 512);
            }
        }
        // Whether it is refused depends on where the damage is; nothing may leave either way.
        let limits = Limits { entries: 1000, bytes: 1 << 20 };
        if let Ok(unpacked) = yard.unpack_within(&bytes, limits) {
            prop_assert!(unpacked.entries <= limits.entries);
        }
        yard.assert_contained();
    }
}

/// Makes a damaged header look whole, so that the damage gets past the checksum.
fn mend_checksum(bytes: &mut [u8], block: usize) {
    let block: &mut [u8; 512] = (&mut bytes[block..block + 512]).try_into().unwrap();
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    header.set_cksum();
    block.copy_from_slice(header.as_bytes());
}
