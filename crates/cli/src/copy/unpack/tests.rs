use std::os::unix::fs::{PermissionsExt as _, symlink};

use tar::{Builder, Header};

use super::*;

type Archived = Builder<Vec<u8>>;

/// An entry whose name is written as it is, which the builder would refuse.
fn raw(archive: &mut Archived, kind: EntryType, name: &str, link: &str, mode: u32) {
    let mut header = Header::new_old();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    let content: &[u8] = if kind == EntryType::Regular { b"x" } else { b"" };
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.append(&header, content).unwrap();
}

struct Lab {
    outer: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("into")).unwrap();
        Self { outer }
    }

    fn unpack(&self, fill: impl FnOnce(&mut Archived)) -> io::Result<()> {
        let mut archive = Builder::new(Vec::new());
        fill(&mut archive);
        let bytes = archive.into_inner().unwrap();
        unpack(&bytes[..], &self.outer.path().join("into"))
    }

    /// Asserts that nothing was made outside.
    fn contained(&self) {
        let names: Vec<_> =
            fs::read_dir(self.outer.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["into"]);
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../out", "a/../../out", "/tmp/boxherd-out", ".."] {
        let lab = Lab::new();
        assert!(lab.unpack(|a| raw(a, EntryType::Regular, name, "", 0o644)).is_err(), "{name}");
        assert!(lab.unpack(|a| raw(a, EntryType::Directory, name, "", 0o755)).is_err(), "{name}");
        lab.contained();
    }
    assert!(!Path::new("/tmp/boxherd-out").exists());
}

#[test]
fn links_lead_nowhere_on_the_way() {
    for kind in [EntryType::Regular, EntryType::Directory] {
        let lab = Lab::new();
        let unpacked = lab.unpack(|a| {
            raw(a, EntryType::Symlink, "link", "..", 0o777);
            raw(a, kind, "link/out", "", 0o777);
        });
        assert!(unpacked.is_err());
        lab.contained();
    }
}

#[test]
fn a_link_that_is_there_already_leads_nowhere() {
    let lab = Lab::new();
    symlink("..", lab.outer.path().join("into/link")).unwrap();
    assert!(lab.unpack(|a| raw(a, EntryType::Regular, "link/out", "", 0o644)).is_err());
    assert!(lab.unpack(|a| raw(a, EntryType::Directory, "link", "", 0o777)).is_err());
    lab.contained();
}

#[test]
fn a_file_replaces_a_link_and_not_what_it_leads_to() {
    let lab = Lab::new();
    let secret = lab.outer.path().join("into/secret");
    fs::write(&secret, "old").unwrap();
    symlink(&secret, lab.outer.path().join("into/link")).unwrap();
    lab.unpack(|a| raw(a, EntryType::Regular, "link", "", 0o644)).unwrap();
    assert_eq!(fs::read_to_string(&secret).unwrap(), "old");
}

#[test]
fn hard_links_to_other_files_are_refused() {
    let lab = Lab::new();
    assert!(lab.unpack(|a| raw(a, EntryType::Link, "passwd", "/etc/passwd", 0o644)).is_err());
    assert!(lab.unpack(|a| raw(a, EntryType::Link, "out", "../../out", 0o644)).is_err());
}

#[test]
fn devices_are_refused() {
    let lab = Lab::new();
    assert!(lab.unpack(|a| raw(a, EntryType::Block, "disk", "", 0o666)).is_err());
    assert!(lab.unpack(|a| raw(a, EntryType::Fifo, "fifo", "", 0o666)).is_err());
}

#[test]
fn permissions_are_kept_but_not_setuid() {
    let lab = Lab::new();
    lab.unpack(|a| {
        raw(a, EntryType::Directory, "d", "", 0o500);
        raw(a, EntryType::Regular, "d/tool", "", 0o4751);
    })
    .unwrap();
    let mode = |path: &str| fs::metadata(lab.outer.path().join(path)).unwrap().permissions().mode();
    assert_eq!(mode("into/d/tool") & 0o7777, 0o751);
    assert_eq!(mode("into/d") & 0o7777, 0o500);
    // So that the temporary folder can be removed by who is not root.
    fs::set_permissions(lab.outer.path().join("into/d"), fs::Permissions::from_mode(0o700))
        .unwrap();
}
