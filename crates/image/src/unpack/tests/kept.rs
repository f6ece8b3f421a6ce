//! What honest streams say is what lies on disk.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use boxherd_testkit::{programs_or_skip, root_or_skip};

use super::*;

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn modes_and_times_are_kept_also_of_folders_that_get_more_later() {
    let yard = Yard::new();
    let stream = Tape::new()
        .entry(&Head { mode: 0o1777, mtime: 7, ..Head::new(b'5', b"./") }, b"")
        .entry(&Head { mode: 0o2555, mtime: 1000, ..Head::new(b'5', b"sealed") }, b"")
        .entry(&Head { mode: 0o4711, mtime: 2000, size: 2, ..Head::new(b'0', b"sealed/su") }, b"hi")
        .extended(&[("mtime", b"-1.5")])
        .file("old", b"")
        .end();
    yard.unpack(&stream).unwrap();
    let look = |name: &str| {
        let found = fs::symlink_metadata(yard.at(name)).unwrap();
        (found.permissions().mode() & 0o7777, found.mtime(), found.mtime_nsec())
    };
    assert_eq!(look(""), (0o1777, 7, 0));
    assert_eq!(look("sealed"), (0o2555, 1000, 0));
    assert_eq!(look("sealed/su"), (0o4711, 2000, 0));
    assert_eq!(look("old"), (0o644, -2, 500_000_000));
}

#[test]
fn owners_and_capabilities_are_kept_as_root() {
    if !root_or_skip("owners_and_capabilities_are_kept_as_root") {
        return;
    }
    let yard = Yard::new();
    // `cap_net_raw+ep`; the value has a newline, which simpler readers of pax trip over.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let stream = Tape::new()
        .extended(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.note", b"a\nb"),
        ])
        .entry(&Head { owner: (1000, 100), mode: 0o6755, ..Head::new(b'0', b"ping") }, b"")
        .entry(&Head { owner: (5, 6), link: b"ping", ..Head::new(b'2', b"link") }, b"")
        .entry(&Head { owner: (7, 8), ..Head::new(b'5', b"home") }, b"")
        .end();
    let unpacked = yard.unpack(&stream).unwrap();
    assert_eq!(unpacked.notes, Vec::<String>::new());
    let owner = |name: &str| {
        let found = fs::symlink_metadata(yard.at(name)).unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!((owner("ping"), owner("link"), owner("home")), ((1000, 100), (5, 6), (7, 8)));
    assert_eq!(fs::metadata(yard.at("ping")).unwrap().mode() & 0o7777, 0o6755);
    assert_eq!(xattr(&yard.at("ping"), "security.capability").unwrap(), capability);
    assert_eq!(xattr(&yard.at("ping"), "user.note").unwrap(), b"a\nb");
}

#[test]
fn hard_links_are_one_file_and_links_lead_where_they_say() {
    let yard = Yard::new();
    let stream = Tape::new()
        .file("one", b"data")
        .hard_link("two", "./one")
        .hard_link("deep/three", "/two")
        .hard_link("two", "one")
        .symlink("link", "../../anywhere")
        .end();
    yard.unpack(&stream).unwrap();
    let inode = |name: &str| fs::metadata(yard.at(name)).unwrap().ino();
    assert_eq!((inode("two"), inode("deep/three")), (inode("one"), inode("one")));
    assert_eq!(fs::read_link(yard.at("link")).unwrap(), Path::new("../../anywhere"));
}

#[test]
fn the_last_of_several_entries_with_one_name_stays() {
    let yard = Yard::new();
    let stream = Tape::new()
        .entry(&Head { mode: 0o700, ..Head::new(b'5', b"x") }, b"")
        .entry(&Head { mode: 0o500, ..Head::new(b'5', b"x/y") }, b"")
        .file("x/y/z", b"1")
        .file("x", b"now a file")
        .symlink("s", "x")
        .folder("s")
        .file("s/in", b"2")
        .folder("s")
        .end();
    yard.unpack(&stream).unwrap();
    assert_eq!(fs::read(yard.at("x")).unwrap(), b"now a file");
    assert_eq!(fs::read(yard.at("s/in")).unwrap(), b"2");
}

#[test]
fn long_names_and_names_that_are_no_text_are_kept() {
    use std::os::unix::ffi::OsStrExt as _;
    let yard = Yard::new();
    let deep = "long/".repeat(60) + &"n".repeat(255);
    let odd = b"not\xff\xfetext \n";
    let stream = Tape::new()
        .file(&deep, b"deep")
        .symlink("far", &deep)
        .entry(&Head::new(b'0', odd), b"")
        .end();
    yard.unpack(&stream).unwrap();
    assert_eq!(fs::read(yard.at("far")).unwrap(), b"deep");
    assert!(yard.at(std::ffi::OsStr::from_bytes(odd)).exists());
}

#[test]
fn sparse_files_of_every_format_of_gnu_tar_come_out_whole_and_sparse() {
    if !programs_or_skip("sparse_files_of_every_format", &["tar"]) {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("holes");
    let file = fs::File::create(&path).unwrap();
    use std::os::unix::fs::FileExt as _;
    // More segments than fit into one header of the old format.
    for at in 0..40_u64 {
        file.write_all_at(format!("island {at}").as_bytes(), at * 200_000).unwrap();
    }
    file.set_len(9_000_000).unwrap();
    let expected = fs::read(&path).unwrap();
    let formats: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for format in formats {
        let tar = Command::new("tar")
            .args(format)
            .args(["-S", "-c", "-C"])
            .arg(source.path())
            .arg("holes")
            .output()
            .unwrap();
        assert!(tar.status.success() && tar.stdout.len() < 1_000_000, "{format:?}");
        let yard = Yard::new();
        yard.unpack(&tar.stdout).unwrap();
        assert!(fs::read(yard.at("holes")).unwrap() == expected, "{format:?}");
        let blocks = fs::metadata(yard.at("holes")).unwrap().blocks();
        assert!(blocks * 512 < 2_000_000, "{format:?}: {blocks} blocks");
    }
}

#[test]
fn zeros_become_holes() {
    let yard = Yard::new();
    let mut data = vec![0; 8 << 20];
    data[3 << 20] = 1;
    yard.unpack(&Tape::new().file("zeros", &data).end()).unwrap();
    assert!(fs::read(yard.at("zeros")).unwrap() == data);
    assert!(fs::metadata(yard.at("zeros")).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn global_headers_and_bookkeeping_of_aufs_are_counted() {
    let stream = Tape::new()
        .entry(&Head { size: 12, ..Head::new(b'g', b"pax") }, b"12 comment=\n")
        .folder(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", b"")
        .file("a", b"")
        .end();
    let yard = Yard::new();
    let unpacked = yard.unpack(&stream).unwrap();
    assert_eq!(unpacked.notes, ["3 entries of bookkeeping were skipped"]);
    assert_eq!(fs::read_dir(yard.root()).unwrap().count(), 1);
}
