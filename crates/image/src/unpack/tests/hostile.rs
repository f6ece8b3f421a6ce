//! Streams that want out, want too much, or are no tar streams.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::error::EntryFault;
use super::*;

/// The fault that `stream` is refused for.
fn fault(yard: &Yard, stream: &[u8]) -> EntryFault {
    match yard.unpack(stream) {
        Err(UnpackError::Refused { fault, .. }) => fault,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn entries_that_want_out_are_refused_by_name() {
    let long = "a/".repeat(3000);
    for (stream, expected) in [
        (Tape::new().file("/etc/passwd", b"x"), EntryFault::Absolute),
        (Tape::new().file("../outside", b"x"), EntryFault::Climbs),
        (Tape::new().folder("a").file("a/../../outside", b"x"), EntryFault::Climbs),
        (Tape::new().folder(".."), EntryFault::Climbs),
        (Tape::new().symlink("../outside", "x"), EntryFault::Climbs),
        (Tape::new().file("../.wh.outside", b""), EntryFault::Climbs),
        (Tape::new().file(".wh...", b""), EntryFault::ReservedName),
        (Tape::new().hard_link("mine", "../outside"), EntryFault::Climbs),
        (Tape::new().hard_link("mine", "/etc/passwd"), EntryFault::NoTarget),
        (Tape::new().hard_link("mine", "absent"), EntryFault::NoTarget),
        (Tape::new().folder("a").hard_link("mine", "a"), EntryFault::BadTarget),
        (Tape::new().file(".wh.w", b"").hard_link("mine", "w"), EntryFault::BadTarget),
        (Tape::new().folder("a").file("a/b", b"").hard_link("a", "a/b"), EntryFault::NoTarget),
        (Tape::new().symlink("up", "../..").hard_link("mine", "up/outside"), EntryFault::NoTarget),
        (Tape::new().file("a", b"x").file("a/b", b"x"), EntryFault::NotAFolder),
        (Tape::new().symlink("a", "absent").file("a/b", b"x"), EntryFault::NotAFolder),
        (Tape::new().symlink("a", "a").file("a/b", b"x"), EntryFault::NotAFolder),
        (Tape::new().symlink("a", "/proc/self/fd/0").file("a/b", b""), EntryFault::NotAFolder),
        (Tape::new().special(b'3', "null"), EntryFault::Device),
        (Tape::new().special(b'4', "disk/sda"), EntryFault::Device),
        (Tape::new().special(b'3', "device/null"), EntryFault::Device),
        (Tape::new().special(b'Z', "odd"), EntryFault::UnknownType('Z')),
        (Tape::new().file("", b"x"), EntryFault::Empty),
        (Tape::new().file(".", b"x"), EntryFault::RootNotFolder),
        (Tape::new().symlink("a", ""), EntryFault::BadLink),
        (Tape::new().hard_link("a", ""), EntryFault::BadLink),
        (Tape::new().file(&"n".repeat(256), b""), EntryFault::TooLong),
        (Tape::new().folder(&long), EntryFault::TooLong),
        (Tape::new().extended(&[("path", b"a\0b")]).file("x", b""), EntryFault::ZeroByte),
        (Tape::new().extended(&[("path", b"../x")]).file("x", b""), EntryFault::Climbs),
        (Tape::new().extended(&[("uid", b"4294967295")]).file("x", b""), EntryFault::BadOwner),
        (
            Tape::new()
                .extended(&[("GNU.sparse.map", b"0,9,4,9"), ("GNU.sparse.size", b"99")])
                .file("x", &[1; 18]),
            EntryFault::BadSparseMap,
        ),
    ] {
        let yard = Yard::new();
        assert_eq!(fault(&yard, &stream.end()), expected);
        yard.assert_contained();
    }
}

#[test]
fn a_refusal_names_the_entry_and_cannot_upset_a_terminal() {
    let stream = Tape::new().entry(&Head::new(b'0', b"../\x1b[31mred"), b"").end();
    let error = Yard::new().unpack(&stream).unwrap_err();
    assert_eq!(error.to_string(), r"entry `../\x1b[31mred` is refused: its path climbs with `..`");
}

#[test]
fn links_to_the_outside_lead_to_the_inside() {
    let yard = Yard::new();
    let outside = yard.folder.path().display().to_string();
    let stream = Tape::new()
        .symlink("slash", "/")
        .file("slash/one", b"1")
        .symlink("up", "../../../../..")
        .file("up/two", b"2")
        .folder("real")
        .symlink("real/out", &outside)
        .file(&format!("slash/{outside}/three"), b"3")
        .file("real/out/four", b"4")
        .end();
    yard.unpack(&stream).unwrap();
    assert_eq!(fs::read(yard.at("one")).unwrap(), b"1");
    assert_eq!(fs::read(yard.at("two")).unwrap(), b"2");
    let inside = yard.at(outside.trim_start_matches('/'));
    assert_eq!(fs::read(inside.join("three")).unwrap(), b"3");
    assert_eq!(fs::read(inside.join("four")).unwrap(), b"4");
    yard.assert_contained();
}

#[test]
fn a_link_in_the_place_of_an_entry_is_replaced_and_not_followed() {
    let yard = Yard::new();
    let target = yard.folder.path().join("outside").display().to_string();
    let stream = Tape::new()
        .symlink("a", &target)
        .file("a", b"mine")
        .symlink("b", &target)
        .folder("b")
        .file("b/c", b"deep")
        .file(".wh.b", b"")
        .end();
    yard.unpack(&stream).unwrap();
    assert_eq!(fs::read(yard.at("a")).unwrap(), b"mine");
    assert_eq!(fs::read(yard.at("b/c")).unwrap(), b"deep");
    yard.assert_contained();
}

#[test]
fn device_nodes_below_dev_are_skipped_and_counted() {
    let yard = Yard::new();
    let stream =
        Tape::new().folder("dev").special(b'3', "./dev/null").special(b'4', "dev/sda").end();
    let unpacked = yard.unpack(&stream).unwrap();
    assert_eq!(unpacked.notes, ["2 device nodes below `dev/` were skipped"]);
    assert_eq!(fs::read_dir(yard.at("dev")).unwrap().count(), 0);
}

#[test]
fn limits_hold_before_anything_is_written() {
    let limits = Limits { entries: 3, bytes: 1000 };
    let four = Tape::new().folder("a").folder("b").folder("c").folder("d").end();
    let error = Yard::new().unpack_within(&four, limits).unwrap_err();
    assert_eq!(error.to_string(), "more than 3 entries, which is the limit for one layer");

    // The header lies: there are no 8 GiB, and nobody tries to find them.
    let lie = Tape::new().entry(&Head { size: 8 << 30, ..Head::new(b'0', b"big") }, b"").end();
    let error = Yard::new().unpack_within(&lie, limits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "more than 1000 bytes of files, which is the limit for one layer"
    );

    let huge_names = Tape::new().entry(&Head { size: 2 << 30, ..Head::new(b'L', b"x") }, b"").end();
    let error = Yard::new().unpack(&huge_names).unwrap_err();
    assert!(matches!(error, UnpackError::TooMuch { limit: 1_048_576, .. }), "{error}");

    // A hole of nearly 2^63 bytes.
    let hole = Tape::new()
        .extended(&[("GNU.sparse.map", b""), ("GNU.sparse.size", b"9223372036854775807")])
        .file("x", b"")
        .end();
    assert!(Yard::new().unpack(&hole).is_err());
}

#[test]
fn what_follows_the_end_marker_is_bounded() {
    let stream = Tape::new().folder("a").end();
    let stream = stream.as_slice().chain(io::repeat(7));
    let limits = Limits { entries: 10, bytes: 100_000 };
    let yard = Yard::new();
    let error = unpack(stream, &yard.root(), limits, &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, UnpackError::TooMuch { .. }), "{error}");
}

#[test]
fn streams_that_are_cut_or_damaged_are_refused() {
    let whole = Tape::new().file("a", &[1; 2000]).file("b", &[2; 100]).cut();
    for length in [100, 512, 1000, 2048, 2559] {
        let error = Yard::new().unpack(&whole[..length]).unwrap_err();
        let cut = matches!(error, UnpackError::Malformed { .. } | UnpackError::Read(_));
        assert!(cut, "{length}: {error}");
    }
    // A cut between two members looks like an end, so that is said.
    assert!(!Yard::new().unpack(&whole).unwrap().end_marker);
    let mut damaged = whole;
    damaged[2560] ^= 1;
    let error = Yard::new().unpack(&damaged).unwrap_err();
    assert_eq!(error.to_string(), "not a tar stream at byte 3072: no header, or a damaged one");
}

#[test]
fn attributes_that_are_not_the_streams_to_set_are_dropped_and_counted() {
    let yard = Yard::new();
    let records: [(&str, &[u8]); 5] = [
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"system_u"),
        ("SCHILY.xattr.security.capability", b"short"),
    ];
    let unpacked = yard.unpack(&Tape::new().extended(&records).folder("a").end()).unwrap();
    assert_eq!(unpacked.notes.len(), 5, "{:?}", unpacked.notes);
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(yard.at("a"), &mut names[..]).unwrap();
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    assert!(!names.contains("overlay") && !names.contains("capability"), "{names}");
}

#[test]
fn a_cancelled_unpacking_ends() {
    /// Gives zeros, and cancels after the first.
    struct Endless<'a>(&'a AtomicBool);
    impl Read for Endless<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.store(true, Ordering::Relaxed);
            into.fill(0);
            Ok(into.len())
        }
    }
    let cancel = AtomicBool::new(false);
    let head = Tape::new().entry(&Head { size: 1 << 33, ..Head::new(b'0', b"big") }, b"").cut();
    let yard = Yard::new();
    let stream = head.as_slice().chain(Endless(&cancel));
    let error = unpack(stream, &yard.root(), Limits::default(), &cancel).unwrap_err();
    assert!(matches!(error, UnpackError::Cancelled), "{error}");
}

#[test]
fn a_fifo_is_made_and_not_opened() {
    let yard = Yard::new();
    yard.unpack(&Tape::new().special(b'6', "pipe").hard_link("again", "pipe").end()).unwrap();
    let found = fs::symlink_metadata(yard.at("pipe")).unwrap();
    assert!(found.file_type().is_fifo());
    assert_eq!(found.nlink(), 2);
}
