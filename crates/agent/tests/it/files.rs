//! Files and trees: content, names, places, failures.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use boxherd_link::{
    FileKind, Files, Link, LinkError, MkdirOptions, ReadRange, RemoveOptions, TarOptions,
    WriteOptions,
};
use bytes::Bytes;

use crate::{link, within};

async fn files() -> (Files, tempfile::TempDir) {
    (link().await.files(), tempfile::tempdir().unwrap())
}

async fn put(files: &Files, path: impl AsRef<Path>, content: &[u8], options: WriteOptions) {
    let mut writer = files.write(path, options).unwrap();
    writer.send(Bytes::copy_from_slice(content)).await.unwrap();
    within(writer.finish()).await.unwrap();
}

async fn get(files: &Files, path: impl AsRef<Path>, range: ReadRange) -> Bytes {
    within(files.read(path, range).unwrap().read_all(usize::MAX)).await.unwrap()
}

fn errno<T: std::fmt::Debug>(result: Result<T, LinkError>) -> i32 {
    result.unwrap_err().errno().expect("an error number")
}

#[tokio::test]
async fn what_is_written_is_read() {
    let (files, dir) = files().await;
    let path = dir.path().join("f");
    let large: Vec<u8> = (0..3_000_000u32).map(|i| (i >> 5) as u8).collect();
    for content in [&b""[..], b"small", &large] {
        put(&files, &path, content, WriteOptions::default()).await;
        assert!(get(&files, &path, ReadRange::default()).await == content);
    }
    let middle = ReadRange { offset: 1_000_000, length: Some(70_000) };
    assert_eq!(get(&files, &path, middle).await, large[1_000_000..1_070_000]);
    let end = ReadRange { offset: 2_999_990, length: None };
    assert_eq!(get(&files, &path, end).await, large[2_999_990..]);
    let beyond = ReadRange { offset: 5_000_000, length: None };
    assert_eq!(get(&files, &path, beyond).await, "");
}

#[tokio::test]
async fn a_file_keeps_its_mode_when_it_is_replaced() {
    let (files, dir) = files().await;
    let path = dir.path().join("f");
    put(&files, &path, b"1", WriteOptions::default()).await;
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
    put(&files, &path, b"2", WriteOptions { mode: Some(0o4751), ..Default::default() }).await;
    put(&files, &path, b"3", WriteOptions { sync: true, ..Default::default() }).await;
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o4751);
}

#[tokio::test]
async fn writing_at_an_offset_keeps_the_rest() {
    let (files, dir) = files().await;
    let path = dir.path().join("f");
    put(&files, &path, b"0123456789", WriteOptions::default()).await;
    let at = |at, truncate| WriteOptions { at: Some(at), truncate, ..Default::default() };
    put(&files, &path, b"ab", at(2, false)).await;
    assert_eq!(fs::read(&path).unwrap(), b"01ab456789");
    put(&files, &path, b"cd", at(4, true)).await;
    assert_eq!(fs::read(&path).unwrap(), b"01abcd");
    put(&files, &path, b"x", at(1 << 30, false)).await;
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.len() == (1 << 30) + 1 && metadata.blocks() < 1000, "the hole is a hole");
}

#[tokio::test]
async fn parents_are_made_on_request_only() {
    let (files, dir) = files().await;
    let path = dir.path().join("a/b/c");
    let refused = within(files.write(&path, WriteOptions::default()).unwrap().finish()).await;
    let error = refused.unwrap_err();
    assert_eq!(error.errno(), Some(2));
    assert_eq!(error.to_string(), format!("write `{}`: no such file or directory", path.display()));
    put(&files, &path, b"x", WriteOptions { parents: true, ..Default::default() }).await;
    assert_eq!(fs::read(&path).unwrap(), b"x");
}

#[tokio::test]
async fn a_link_is_written_through() {
    let (files, dir) = files().await;
    fs::write(dir.path().join("target"), "old").unwrap();
    symlink("target", dir.path().join("link")).unwrap();
    put(&files, dir.path().join("link"), b"new", WriteOptions::default()).await;
    assert_eq!(fs::read(dir.path().join("target")).unwrap(), b"new");
    assert!(fs::symlink_metadata(dir.path().join("link")).unwrap().is_symlink());
}

/// Waits until a directory holds only `name`, with that content.
async fn only(dir: &Path, name: &str, content: &str) {
    within(async {
        while fs::read_dir(dir).unwrap().count() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), content);
}

#[tokio::test]
async fn a_torn_upload_leaves_the_old_file_and_nothing_else() {
    let (files, dir) = files().await;
    let path = dir.path().join("f");
    fs::write(&path, "old").unwrap();
    let mut writer = files.write(&path, WriteOptions::default()).unwrap();
    writer.send(Bytes::from(vec![1; 2_000_000])).await.unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "it is written beside its place");
    drop(writer);
    only(dir.path(), "f", "old").await;
}

#[tokio::test]
async fn a_large_file_replaces_another_at_once_and_leaves_nothing_beside_it() {
    let (files, dir) = files().await;
    let path = dir.path().join("f");
    let content = |byte| vec![byte; 2_000_000];
    put(&files, &path, &content(1), WriteOptions::default()).await;
    let mut reader = fs::File::open(&path).unwrap();
    put(&files, &path, &content(2), WriteOptions::default()).await;
    let mut seen = Vec::new();
    reader.read_to_end(&mut seen).unwrap();
    assert!(seen == content(1), "who reads the old file reads it to its end");
    assert!(fs::read(&path).unwrap() == content(2));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_directory_made_during_an_upload_stays() {
    let (files, dir) = files().await;
    let path = dir.path().join("f");
    fs::write(&path, "old").unwrap();
    let mut writer = files.write(&path, WriteOptions::default()).unwrap();
    writer.send(Bytes::from(vec![1; 2_000_000])).await.unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(errno(within(writer.finish()).await), 21);
    assert!(path.is_dir());
    within(async {
        while fs::read_dir(dir.path()).unwrap().count() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_link_lost_in_an_upload_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "old").unwrap();
    let (link, relay) = crate::lost::breakable(&crate::agent()).await;
    let mut writer = link.files().write(&path, WriteOptions::default()).unwrap();
    writer.send(Bytes::from(vec![1; 2_000_000])).await.unwrap();
    relay.abort();
    let lost = within(writer.finish()).await.unwrap_err();
    assert!(matches!(lost, LinkError::Lost { .. }), "{lost}");
    only(dir.path(), "f", "old").await;
}

#[tokio::test]
async fn a_full_disk_is_told_while_writing() {
    let (files, _dir) = files().await;
    let options = WriteOptions { at: Some(0), ..Default::default() };
    let mut writer = files.write("/dev/full", options).unwrap();
    let chunk = Bytes::from(vec![0; 1 << 20]);
    let failed = within(async {
        loop {
            if let Err(error) = writer.send(chunk.clone()).await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(failed.errno(), Some(28), "{failed}");
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let (files, dir) = files().await;
    assert_eq!(errno(files.read(dir.path(), ReadRange::default()).unwrap().next().await), 21);
    assert_eq!(errno(files.read("/no/such", ReadRange::default()).unwrap().next().await), 2);
    let onto = files.write(dir.path(), WriteOptions::default()).unwrap();
    assert_eq!(errno(within(onto.finish()).await), 21);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let fifo = dir.path().join("fifo");
    assert_eq!(errno(within(files.read(&fifo, ReadRange::default()).unwrap().next()).await), 29);
}

#[tokio::test]
async fn names_are_bytes() {
    let (files, dir) = files().await;
    for name in [&b"\xff\xfe"[..], b"a\nb", b"-rf", "\u{202e}x".as_bytes(), &[b'x'; 255]] {
        let path = dir.path().join(OsStr::from_bytes(name));
        put(&files, &path, name, WriteOptions::default()).await;
        assert_eq!(get(&files, &path, ReadRange::default()).await, name);
    }
    let listed = within(files.list(dir.path())).await.unwrap();
    let names: Vec<_> = listed.iter().map(|e| e.name.as_bytes()).collect();
    assert!(names.len() == 5 && names.contains(&&b"\xff\xfe"[..]) && names.is_sorted());
    let path = dir.path().join(OsStr::from_bytes(&[b'x'; 256]));
    assert_eq!(errno(files.stat(path).await), 36);
}

#[tokio::test]
async fn a_large_directory_is_listed_whole() {
    let (files, dir) = files().await;
    for i in 0..5000 {
        fs::write(dir.path().join(format!("file-with-a-longer-name-{i:05}")), "").unwrap();
    }
    let listed = within(files.list(dir.path())).await.unwrap();
    assert_eq!(listed.len(), 5000);
    assert!(listed[4999].name == "file-with-a-longer-name-04999");
    assert_eq!(errno(files.list("/no/such").await), 2);
}

#[tokio::test]
async fn what_stat_says() {
    let (files, dir) = files().await;
    fs::write(dir.path().join("f"), "12345").unwrap();
    symlink("f", dir.path().join("l")).unwrap();
    let stat = files.stat(dir.path().join("l")).await.unwrap();
    let real = fs::metadata(dir.path().join("f")).unwrap();
    assert_eq!((stat.kind, stat.size, stat.ino), (FileKind::File, 5, real.ino()));
    assert_eq!(stat.modified, real.modified().unwrap());
    let lstat = files.lstat(dir.path().join("l")).await.unwrap();
    assert_eq!(lstat.kind, FileKind::Symlink);
    let dev = files.stat("/dev/null").await.unwrap();
    assert_eq!(dev.kind, FileKind::CharDevice);
    let entries = files.list(dir.path()).await.unwrap();
    assert_eq!(entries[1].target.as_deref(), Some(Path::new("f")));
    let fs = files.statvfs(dir.path()).await.unwrap();
    assert!(fs.total > 0 && fs.total >= fs.free && fs.name_max >= 255);
}

#[tokio::test]
async fn directories_are_made_and_removed() {
    let (files, dir) = files().await;
    let path = dir.path().join("a/b");
    let (plain, deep) = (MkdirOptions::default(), MkdirOptions { parents: true, mode: None });
    assert_eq!(errno(files.mkdir(&path, plain).await), 2);
    files.mkdir(&path, deep).await.unwrap();
    files.mkdir(&path, deep).await.unwrap();
    assert_eq!(errno(files.mkdir(&path, plain).await), 17);
    let odd = MkdirOptions { mode: Some(0o1777), parents: false };
    files.mkdir(dir.path().join("t"), odd).await.unwrap();
    assert_eq!(fs::metadata(dir.path().join("t")).unwrap().mode() & 0o7777, 0o1777);
    let top = dir.path().join("a");
    assert_eq!(errno(files.remove(&top, RemoveOptions::default()).await), 39);
    let all = RemoveOptions { recursive: true, missing_ok: false };
    files.remove(&top, all).await.unwrap();
    assert_eq!(errno(files.remove(&top, all).await), 2);
    files.remove(&top, RemoveOptions { missing_ok: true, ..all }).await.unwrap();
}

#[tokio::test]
async fn removing_a_link_leaves_what_it_points_to() {
    let (files, dir) = files().await;
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/f"), "").unwrap();
    symlink("d", dir.path().join("l")).unwrap();
    let all = RemoveOptions { recursive: true, missing_ok: false };
    files.remove(dir.path().join("l"), all).await.unwrap();
    assert!(dir.path().join("d/f").exists());
}

#[tokio::test]
async fn names_change_and_multiply() {
    let (files, dir) = files().await;
    let at = |name: &str| dir.path().join(name);
    fs::write(at("a"), "content").unwrap();
    fs::write(at("b"), "in the way").unwrap();
    files.rename(at("a"), at("b")).await.unwrap();
    files.hard_link(at("b"), at("c")).await.unwrap();
    files.symlink("c", at("s")).await.unwrap();
    assert_eq!(files.readlink(at("s")).await.unwrap(), Path::new("c"));
    assert_eq!(fs::read_to_string(at("s")).unwrap(), "content");
    assert_eq!(fs::metadata(at("b")).unwrap().nlink(), 2);
    assert_eq!(errno(files.readlink(at("b")).await), 22);
    assert_eq!(errno(files.symlink("x", at("s")).await), 17);
    assert_eq!(errno(files.rename(at("none"), at("x")).await), 2);
}

#[tokio::test]
async fn attributes_are_set() {
    let (files, dir) = files().await;
    let path = dir.path().join("f");
    fs::write(&path, "12345").unwrap();
    files.truncate(&path, 2).await.unwrap();
    files.chmod(&path, 0o2750).await.unwrap();
    let before = fs::metadata(&path).unwrap().accessed().unwrap();
    let time = UNIX_EPOCH - Duration::from_millis(1500);
    files.set_times(&path, None, Some(time), false).await.unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o7777), (2, 0o2750));
    assert_eq!((metadata.modified().unwrap(), metadata.accessed().unwrap()), (time, before));
    if rustix::process::geteuid().is_root() {
        files.chown(&path, Some(1234), None, false).await.unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 0));
    }
    assert_eq!(errno(files.chown(&path, Some(u32::MAX), None, false).await), 22);
}

async fn pack(files: &Files, path: impl AsRef<Path>) -> Bytes {
    within(files.tar_out(path).unwrap().read_all(usize::MAX)).await.unwrap()
}

async fn unpack(
    files: &Files,
    path: impl AsRef<Path>,
    archive: Bytes,
    options: TarOptions,
) -> Result<(), LinkError> {
    let mut writer = files.tar_in(path, options).unwrap();
    // What is wrong with the archive may be told while it is sent.
    writer.send(archive).await?;
    within(writer.finish()).await
}

#[tokio::test]
async fn a_tree_goes_out_and_in_unchanged() {
    let (files, dir) = files().await;
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    fs::write(tree.join("sub").join(OsStr::from_bytes(b"\xff")), "bytes").unwrap();
    fs::write(tree.join("n".repeat(200)), "long").unwrap();
    fs::write(tree.join("script"), "#!").unwrap();
    fs::set_permissions(tree.join("script"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(tree.join("script"), tree.join("twin")).unwrap();
    symlink("/nowhere/else", tree.join("dangling")).unwrap();
    fs::File::create(tree.join("sparse")).unwrap().set_len(1 << 30).unwrap();
    fs::File::open(tree.join("sub")).unwrap().set_modified(UNIX_EPOCH).unwrap();
    fs::set_permissions(tree.join("sub"), fs::Permissions::from_mode(0o555)).unwrap();
    let archive = pack(&files, &tree).await;
    assert!(archive.len() < 1 << 20, "{} bytes: the hole was sent", archive.len());
    let copy = dir.path().join("x/copy");
    let options = TarOptions { parents: true, owner: None };
    unpack(&files, &copy, archive.clone(), options).await.unwrap();
    assert!(pack(&files, &copy).await == archive, "the copy differs");
    assert_eq!(fs::metadata(copy.join("twin")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(copy.join("sub")).unwrap().mode() & 0o7777, 0o555);
    assert!(fs::metadata(copy.join("sparse")).unwrap().blocks() < 1000);
    fs::set_permissions(copy.join("sub"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(tree.join("sub"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_single_file_is_a_tree_of_one() {
    let (files, dir) = files().await;
    fs::write(dir.path().join("one"), "1").unwrap();
    let archive = pack(&files, dir.path().join("one")).await;
    let copy = dir.path().join("copy");
    unpack(&files, &copy, archive, TarOptions { parents: true, owner: None }).await.unwrap();
    assert_eq!(fs::read(copy.join("one")).unwrap(), b"1");
}

fn archive_with(path: &[u8], link: Option<&str>) -> Bytes {
    let mut builder = tar::Builder::new(Vec::new());
    if let Some(target) = link {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "link", target).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
    header.set_size(4);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, &b"evil"[..]).unwrap();
    builder.into_inner().unwrap().into()
}

#[tokio::test]
async fn an_archive_cannot_leave_its_directory() {
    let (files, dir) = files().await;
    let inside = dir.path().join("in");
    fs::create_dir(&inside).unwrap();
    let outside = dir.path().to_str().unwrap();
    for archive in [archive_with(b"../evil", None), archive_with(b"link/evil", Some(outside))] {
        unpack(&files, &inside, archive, TarOptions::default()).await.unwrap_err();
        assert!(!dir.path().join("evil").exists());
    }
}

#[tokio::test]
async fn a_torn_archive_is_an_error() {
    let (files, dir) = files().await;
    fs::write(dir.path().join("f"), vec![1; 100_000]).unwrap();
    let archive = pack(&files, dir.path()).await.slice(..50_000);
    unpack(&files, dir.path().join("x"), archive, TarOptions { parents: true, owner: None })
        .await
        .unwrap_err();
}

#[tokio::test]
async fn many_transfers_share_a_link() {
    let link: Link = link().await;
    let dir = tempfile::tempdir().unwrap();
    let transfers = (0..20u8).map(|i| {
        let (files, path) = (link.files(), dir.path().join(i.to_string()));
        tokio::spawn(async move {
            put(&files, &path, &vec![i; 500_000], WriteOptions::default()).await;
            assert!(get(&files, &path, ReadRange::default()).await == vec![i; 500_000]);
        })
    });
    for transfer in transfers.collect::<Vec<_>>() {
        transfer.await.unwrap();
    }
}
