//! Files of a real instance.

use std::io;

use boxherd_lxd_client::{Error, FileMeta, Found, Instance, NewFile};
use bytes::Bytes;
use futures_util::stream;
use tokio::io::AsyncReadExt as _;

use crate::guest::with_guest;

#[test]
fn a_file_comes_back_as_it_was_written() {
    with_guest("a_file_comes_back_as_it_was_written", |guest| async move {
        let meta = FileMeta { uid: 1000, gid: 1001, mode: 0o640 };
        guest.write_file("/tmp/a b", NewFile::with(meta), "content").await.unwrap();
        let Found::File(found, mut body) = guest.read_file("/tmp/a b").await.unwrap() else {
            panic!("no file");
        };
        let mut text = String::new();
        body.read_to_string(&mut text).await.unwrap();
        assert_eq!((found, text.as_str()), (meta, "content"));
    });
}

const ROOTS: FileMeta = FileMeta { uid: 0, gid: 0, mode: 0o644 };

async fn text(guest: &Instance, path: &str) -> String {
    let Found::File(_, mut body) = guest.read_file(path).await.unwrap() else { panic!("no file") };
    let mut text = String::new();
    body.read_to_string(&mut text).await.unwrap();
    text
}

#[test]
fn large_files_go_through_as_streams() {
    with_guest("large_files_go_through_as_streams", |guest| async move {
        const PIECES: usize = 320;
        let piece = |n: usize| Bytes::from(vec![n as u8; 64 << 10]);
        let sent = stream::iter((0..PIECES).map(move |n| Ok(piece(n))));
        let length = Some((PIECES * (64 << 10)) as u64);
        guest.stream_file("/tmp/a", NewFile::with(ROOTS), length, sent).await.unwrap();
        let sent = stream::iter((0..PIECES).map(move |n| Ok(piece(n))));
        guest.stream_file("/tmp/b", NewFile::with(ROOTS), None, sent).await.unwrap();
        for path in ["/tmp/a", "/tmp/b"] {
            let Found::File(_, mut body) = guest.read_file(path).await.unwrap() else {
                panic!("no file");
            };
            let mut at = 0;
            while let Some(chunk) = body.chunk().await.unwrap() {
                for byte in chunk {
                    assert_eq!(byte, (at / (64 << 10)) as u8, "{path} at {at}");
                    at += 1;
                }
            }
            assert_eq!(at, PIECES * (64 << 10));
        }
    });
}

#[test]
fn a_stream_that_fails_is_told() {
    with_guest("a_stream_that_fails_is_told", |guest| async move {
        let broken = stream::iter([Ok(Bytes::from_static(b"half")), Err(io::Error::other("torn"))]);
        let error = guest.stream_file("/tmp/x", NewFile::with(ROOTS), Some(8), broken).await;
        assert!(matches!(error, Err(Error::Broken { .. })), "{error:?}");
        guest.write_file("/tmp/x", NewFile::with(ROOTS), "whole").await.unwrap();
        assert_eq!(text(&guest, "/tmp/x").await, "whole");
    });
}

#[test]
fn folders_links_and_appending() {
    with_guest("folders_links_and_appending", |guest| async move {
        let meta = FileMeta { uid: 7, gid: 8, mode: 0o750 };
        guest.make_directory("/tmp/d", meta).await.unwrap();
        guest.write_file("/tmp/d/one", NewFile::with(ROOTS), "1").await.unwrap();
        guest.make_symlink("/tmp/d/two", "one").await.unwrap();
        let Found::Directory(found, mut names) = guest.read_file("/tmp/d").await.unwrap() else {
            panic!("no folder");
        };
        names.sort();
        assert_eq!((found, names), (meta, vec!["one".to_owned(), "two".to_owned()]));
        let Found::Symlink(_, target) = guest.read_file("/tmp/d/two").await.unwrap() else {
            panic!("no link");
        };
        // The server makes it absolute.
        assert_eq!(target, b"/tmp/d/one");

        let more = NewFile { append: true, meta: None };
        guest.write_file("/tmp/d/one", more, "2").await.unwrap();
        assert_eq!(text(&guest, "/tmp/d/one").await, "12");
        guest.write_file("/tmp/d/one", NewFile::with(ROOTS), "").await.unwrap();
        assert_eq!(text(&guest, "/tmp/d/one").await, "");

        for path in ["/tmp/d/one", "/tmp/d/two", "/tmp/d"] {
            guest.delete_file(path).await.unwrap();
            assert!(guest.read_file(path).await.unwrap_err().is_not_found());
        }
    });
}

#[test]
fn no_parent_is_made_and_nothing_is_found_where_nothing_is() {
    with_guest("no_parent_is_made_and_nothing_is_found_where_nothing_is", |guest| async move {
        let error = guest.write_file("/no/x", NewFile::with(ROOTS), "1").await.unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
        assert!(guest.read_file("/no").await.unwrap_err().is_not_found());
        assert!(guest.delete_file("/no").await.unwrap_err().is_not_found());
    });
}
