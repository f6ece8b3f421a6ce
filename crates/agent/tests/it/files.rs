//! Files.

use std::path::Path;

use boxherd_link::{Link, ReadRange, WriteOptions};
use bytes::Bytes;

use crate::{link, within};

async fn put(link: &Link, path: impl AsRef<Path>, content: impl Into<Bytes>) {
    let mut writer = link.files().write(path, WriteOptions::default()).unwrap();
    writer.send(content.into()).await.unwrap();
    within(writer.finish()).await.unwrap();
}

async fn get(link: &Link, path: impl AsRef<Path>) -> Bytes {
    let reader = link.files().read(path, ReadRange::default()).unwrap();
    within(reader.read_all(usize::MAX)).await.unwrap()
}

#[tokio::test]
async fn what_is_written_is_read() {
    let (link, dir) = (link().await, tempfile::tempdir().unwrap());
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i >> 5) as u8).collect();
    for content in [Vec::new(), b"small".to_vec(), content] {
        put(&link, dir.path().join("f"), content.clone()).await;
        assert!(get(&link, dir.path().join("f")).await == content);
    }
}
