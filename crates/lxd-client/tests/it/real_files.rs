//! Files of a real instance.

use boxherd_lxd_client::{FileMeta, Found, NewFile};
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
