//! Content of files: in and out, names, modes, places, and what is refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use boxherd_link::{LinkError, ReadRange, WriteOptions};
use bytes::Bytes;

use super::stage::errno;
use super::{Outcome, Stage, theme};

theme! { "files":
    an_empty_file,
    any_bytes_come_back,
    a_sparse_gigabyte_is_read,
    a_real_gigabyte_goes_in_and_out,
    names_of_every_kind,
    a_name_may_be_255_bytes_and_no_more,
    a_range_is_read,
    a_range_beyond_the_end_is_empty,
    writing_in_place_keeps_the_rest,
    writing_in_place_can_cut_the_rest,
    writing_beyond_the_end_leaves_a_hole,
    a_new_file_has_the_default_mode,
    a_mode_is_set_whatever_the_umask,
    a_replaced_file_keeps_its_mode,
    missing_parents_are_made_on_request,
    missing_parents_are_an_error_otherwise,
    a_dropped_upload_leaves_the_old_file,
    a_dropped_upload_leaves_no_other_file,
    readers_see_the_old_file_or_the_new,
    a_folder_cannot_be_written,
    a_folder_cannot_be_read,
    what_is_not_there_is_named_in_the_error,
    a_symbolic_link_is_written_through,
    truncate_cuts_and_extends,
    a_place_that_is_read_only_is_refused,
    host_files_of_the_image_are_read_only,
    a_file_of_another_user_is_written_with_its_owner,
    many_files_at_once,
}

async fn an_empty_file(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("empty", "").await?;
    assert_eq!(guest.get("empty").await?, "");
    assert_eq!(guest.sh("wc -c < empty").await?, "0");
    Ok(())
}

async fn any_bytes_come_back(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_003).collect();
    guest.put("bytes", bytes.clone()).await?;
    assert!(guest.get("bytes").await? == bytes);
    Ok(())
}

const GIB: u64 = 1 << 30;

async fn a_sparse_gigabyte_is_read(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("truncate -s 1G sparse; printf end >> sparse").await?;
    let files = guest.link().await?.files();
    assert!(files.stat(guest.path("sparse")).await?.allocated < 1 << 20);
    let mut reader = files.read(guest.path("sparse"), ReadRange::default())?;
    let (mut count, mut last) = (0, Bytes::new());
    while let Some(piece) = reader.next().await? {
        count += piece.len() as u64;
        last = piece;
    }
    assert_eq!(count, GIB + 3);
    assert!(last.ends_with(b"end"));
    Ok(())
}

async fn a_real_gigabyte_goes_in_and_out(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    let piece: Bytes = (0..=255).cycle().take(1 << 20).collect::<Vec<u8>>().into();
    let mut writer = files.write(guest.path("large"), WriteOptions::default())?;
    for _ in 0..1024 {
        writer.send(piece.clone()).await?;
    }
    writer.finish().await?;
    assert_eq!(files.stat(guest.path("large")).await?.size, GIB);
    let mut reader = files.read(guest.path("large"), ReadRange::default())?;
    let mut at = 0_u64;
    while let Some(read) = reader.next().await? {
        let from = usize::try_from(at % 256)?;
        assert!(read.starts_with(&piece[from..(from + read.len()).min(piece.len())]));
        at += read.len() as u64;
    }
    assert_eq!(at, GIB);
    Ok(())
}

async fn names_of_every_kind(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    let names: [&[u8]; 12] = [
        b" ",
        b"a b",
        b"-rf",
        b"*",
        b"$HOME",
        b"new\nline",
        b"tab\t",
        b"quo'te\"s",
        b"back\\slash",
        "büro 🐑".as_bytes(),
        b"not-utf-8-\xff\xfe",
        b"...",
    ];
    for name in names {
        let path = guest.path(OsStr::from_bytes(name));
        let mut writer = files.write(&path, WriteOptions::default())?;
        writer.send(Bytes::from_static(name)).await?;
        writer.finish().await?;
        let content = files.read(&path, ReadRange::default())?.read_all(1000).await?;
        assert_eq!(content, name);
    }
    let mut expected: Vec<_> = names.iter().map(|name| OsStr::from_bytes(name)).collect();
    expected.sort_unstable();
    let listed = files.list(guest.path("")).await?;
    assert_eq!(listed.iter().map(|entry| &entry.name).collect::<Vec<_>>(), expected);
    Ok(())
}

async fn a_name_may_be_255_bytes_and_no_more(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put(&"n".repeat(255), "x").await?;
    assert_eq!(guest.get(&"n".repeat(255)).await?, "x");
    let files = guest.link().await?.files();
    let writer = files.write(guest.path("n".repeat(256)), WriteOptions::default())?;
    assert_eq!(errno(writer.finish().await), libc::ENAMETOOLONG);
    Ok(())
}

async fn a_range_is_read(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("digits", "0123456789").await?;
    let files = guest.link().await?.files();
    for (offset, length, expected) in [
        (0, Some(3), "012"),
        (4, Some(3), "456"),
        (8, None, "89"),
        (8, Some(99), "89"),
        (3, Some(0), ""),
    ] {
        let reader = files.read(guest.path("digits"), ReadRange { offset, length })?;
        assert_eq!(reader.read_all(100).await?, expected);
    }
    Ok(())
}

async fn a_range_beyond_the_end_is_empty(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("short", "short").await?;
    let files = guest.link().await?.files();
    let range = ReadRange { offset: 1000, length: None };
    assert_eq!(files.read(guest.path("short"), range)?.read_all(100).await?, "");
    Ok(())
}

/// Writes `content` into `0123456789` at an offset; returns what the file is then.
async fn patched(
    stage: &Stage,
    at: u64,
    truncate: bool,
    content: &'static str,
) -> Result<Bytes, super::stage::Any> {
    let guest = stage.running().await?;
    guest.put("file", "0123456789").await?;
    let options = WriteOptions { at: Some(at), truncate, ..WriteOptions::default() };
    let mut writer = guest.link().await?.files().write(guest.path("file"), options)?;
    writer.send(content.into()).await?;
    writer.finish().await?;
    guest.get("file").await
}

async fn writing_in_place_keeps_the_rest(stage: &Stage) -> Outcome {
    assert_eq!(patched(stage, 3, false, "abc").await?, "012abc6789");
    Ok(())
}

async fn writing_in_place_can_cut_the_rest(stage: &Stage) -> Outcome {
    assert_eq!(patched(stage, 3, true, "abc").await?, "012abc");
    Ok(())
}

async fn writing_beyond_the_end_leaves_a_hole(stage: &Stage) -> Outcome {
    assert_eq!(patched(stage, 12, false, "x").await?, "0123456789\0\0x");
    Ok(())
}

async fn a_new_file_has_the_default_mode(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("file", "x").await?;
    assert_eq!(guest.sh("stat -c %a file").await?, "644");
    Ok(())
}

async fn a_mode_is_set_whatever_the_umask(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    for mode in [0o600, 0o777, 0o400, 0o4755, 0] {
        let options = WriteOptions { mode: Some(mode), ..WriteOptions::default() };
        let name = format!("mode-{mode:o}");
        files.write(guest.path(&name), options)?.finish().await?;
        assert_eq!(guest.sh(&format!("stat -c %a {name}")).await?, format!("{mode:o}"));
    }
    Ok(())
}

async fn a_replaced_file_keeps_its_mode(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo old > tool; chmod 750 tool").await?;
    guest.put("tool", "new").await?;
    assert_eq!(guest.sh("cat tool; stat -c ' %a' tool").await?, "new 750");
    Ok(())
}

async fn missing_parents_are_made_on_request(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let options = WriteOptions { parents: true, ..WriteOptions::default() };
    let files = guest.link().await?.files();
    files.write(guest.path("a/b/c/file"), options)?.finish().await?;
    assert_eq!(guest.sh("stat -c %a a a/b a/b/c").await?, "755\n755\n755");
    Ok(())
}

async fn missing_parents_are_an_error_otherwise(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    let writer = files.write(guest.path("a/b/file"), WriteOptions::default())?;
    assert_eq!(errno(writer.finish().await), libc::ENOENT);
    Ok(())
}

async fn a_dropped_upload_leaves_the_old_file(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("file", "old").await?;
    let link = guest.link().await?;
    let mut writer = link.files().write(guest.path("file"), WriteOptions::default())?;
    writer.send(vec![b'x'; 1 << 20].into()).await?;
    drop(writer);
    assert_eq!(guest.get("file").await?, "old");
    Ok(())
}

async fn a_dropped_upload_leaves_no_other_file(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut writer = link.files().write(guest.path("file"), WriteOptions::default())?;
    writer.send(vec![b'x'; 1 << 20].into()).await?;
    drop(writer);
    // The agent cleans up when it has heard of it.
    guest.sh("until test -z \"$(ls -A)\"; do sleep 0.01; done").await?;
    Ok(())
}

async fn readers_see_the_old_file_or_the_new(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("file", vec![b'a'; 100_000]).await?;
    let torn = guest
        .spawn("while :; do cat file | tr -s ab > seen; grep -q ab seen && touch torn; done")
        .await?;
    for byte in [b'b', b'a', b'b', b'a'] {
        guest.put("file", vec![byte; 100_000]).await?;
        guest.sh("rm -f seen; until test -e seen; do sleep 0.001; done").await?;
    }
    assert!(guest.lives(&torn).await?);
    assert_eq!(guest.sh("ls torn 2>/dev/null || echo whole").await?, "whole");
    Ok(())
}

async fn a_folder_cannot_be_written(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("mkdir folder").await?;
    let files = guest.link().await?.files();
    let writer = files.write(guest.path("folder"), WriteOptions::default())?;
    assert_eq!(errno(writer.finish().await), libc::EISDIR);
    Ok(())
}

async fn a_folder_cannot_be_read(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    let reader = files.read(guest.path(""), ReadRange::default())?;
    assert_eq!(errno(reader.read_all(100).await), libc::EISDIR);
    Ok(())
}

async fn what_is_not_there_is_named_in_the_error(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let path = guest.path("nothing");
    match guest.link().await?.files().stat(&path).await {
        Err(LinkError::File { op: "stat", path: named, errno: libc::ENOENT }) => {
            assert_eq!(named, path);
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

async fn a_symbolic_link_is_written_through(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo old > file; ln -s file link").await?;
    guest.put("link", "new").await?;
    assert_eq!(guest.sh("cat file; readlink link").await?, "newfile");
    Ok(())
}

async fn truncate_cuts_and_extends(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("file", "0123456789").await?;
    let files = guest.link().await?.files();
    files.truncate(guest.path("file"), 3).await?;
    files.truncate(guest.path("file"), 5).await?;
    assert_eq!(guest.get("file").await?, "012\0\0");
    Ok(())
}

async fn a_place_that_is_read_only_is_refused(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    let writer = files.write("/proc/no-such-file", WriteOptions::default())?;
    let refused = errno(writer.finish().await);
    assert!([libc::ENOENT, libc::EACCES, libc::EPERM, libc::EROFS].contains(&refused), "{refused}");
    Ok(())
}

async fn host_files_of_the_image_are_read_only(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    let writer = files.write("/usr/bin/not-mine", WriteOptions::default())?;
    assert_eq!(errno(writer.finish().await), libc::EROFS);
    assert_eq!(errno(files.chmod("/usr/bin", 0o777).await), libc::EROFS);
    Ok(())
}

async fn a_file_of_another_user_is_written_with_its_owner(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let options = WriteOptions { owner: Some((1000, 1000)), ..WriteOptions::default() };
    let files = guest.link().await?.files();
    files.write(guest.path("file"), options)?.finish().await?;
    guest.put("file", "new content, same owner").await?;
    assert_eq!(guest.sh("stat -c %u:%g file").await?, "1000:1000");
    Ok(())
}

async fn many_files_at_once(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    let one = |number: usize| {
        let (files, path) = (files.clone(), guest.path(format!("file-{number}")));
        async move {
            let content = Bytes::from(vec![u8::try_from(number % 251).unwrap_or(0); 100_000]);
            let mut writer = files.write(&path, WriteOptions::default())?;
            writer.send(content.clone()).await?;
            writer.finish().await?;
            let read = files.read(&path, ReadRange::default())?.read_all(1 << 20).await?;
            assert!(read == content);
            Result::<_, LinkError>::Ok(())
        }
    };
    futures_util::future::try_join_all((0..50).map(one)).await?;
    Ok(())
}
