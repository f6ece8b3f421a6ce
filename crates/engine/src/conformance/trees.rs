//! Whole trees as tar streams.

use std::io::{Cursor, Read as _};
use std::path::Path;

use boxherd_link::TarOptions;
use bytes::Bytes;

use super::stage::{Any, Guest, errno};
use super::{Outcome, Stage, theme};

theme! { "trees":
    a_tree_comes_out_as_it_is,
    a_tree_goes_in_as_it_is,
    a_tree_survives_a_round_trip,
    a_single_file_comes_out_as_one_entry,
    a_tree_goes_into_a_folder_that_is_made,
    a_tree_into_nothing_is_refused,
    a_tree_that_climbs_is_refused,
    a_tree_with_an_absolute_path_stays_inside,
    a_tree_through_a_link_stays_inside,
    a_torn_tree_is_an_error,
    an_empty_tree,
    a_tree_of_many_files,
}

/// The tar archive of `name` in the working folder.
async fn pack(guest: &Guest, name: &str) -> Result<Bytes, Any> {
    let link = guest.link().await?;
    Ok(link.files().tar_out(guest.path(name))?.read_all(64 << 20).await?)
}

/// Unpacks an archive into `name` in the working folder.
async fn unpack(guest: &Guest, name: &str, archive: impl Into<Bytes>) -> Outcome {
    let link = guest.link().await?;
    let options = TarOptions { parents: true, ..TarOptions::default() };
    let mut writer = link.files().tar_in(guest.path(name), options)?;
    writer.send(archive.into()).await?;
    Ok(writer.finish().await?)
}

/// A header of root's, 0644, of 2001-09-09.
fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header
}

/// An archive with one file of that name, which need not be a name that the tar crate would accept.
fn archive_of(name: &str) -> Result<Vec<u8>, Any> {
    let mut header = header(tar::EntryType::Regular, 4);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, &b"evil"[..])?;
    Ok(archive.into_inner()?)
}

async fn a_tree_comes_out_as_it_is(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest
        .sh("mkdir -p tree/sub; printf hello > tree/sub/file; chmod 640 tree/sub/file;
             ln -s sub/file tree/link; ln tree/sub/file tree/hard")
        .await?;
    let archive = pack(&guest, "tree").await?;
    let mut found = Vec::new();
    for entry in tar::Archive::new(Cursor::new(archive)).entries()? {
        let mut entry = entry?;
        let mut content = String::new();
        entry.read_to_string(&mut content)?;
        let path = entry.path()?.to_string_lossy().trim_matches(['.', '/']).to_owned();
        found.push((path, entry.header().entry_type(), content));
    }
    found.sort_by(|(one, ..), (two, ..)| one.cmp(two));
    let names: Vec<&str> =
        found.iter().map(|(name, ..)| name.as_str()).filter(|n| !n.is_empty()).collect();
    assert_eq!(names, ["hard", "link", "sub", "sub/file"]);
    assert!(found.iter().any(|(name, kind, _)| name == "link" && kind.is_symlink()));
    assert!(found.iter().any(|(.., content)| content == "hello"));
    assert!(found.iter().any(|(_, kind, _)| kind.is_hard_link()));
    Ok(())
}

async fn a_tree_goes_in_as_it_is(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut file = header(tar::EntryType::Regular, 5);
    file.set_mode(0o751);
    archive.append_data(&mut file, "sub/file", &b"hello"[..])?;
    archive.append_link(&mut header(tar::EntryType::Symlink, 0), "link", "sub/file")?;
    unpack(&guest, "", archive.into_inner()?).await?;
    assert_eq!(guest.sh("cat link; stat -c ' %a %Y' sub/file").await?, "hello 751 1000000000");
    Ok(())
}

async fn a_tree_survives_a_round_trip(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest
        .sh("mkdir -p tree/empty 'tree/odd name
             '; seq 100000 > tree/numbers; truncate -s 10M tree/sparse; mkfifo tree/pipe;
             ln -s /no/where tree/link; chmod 500 tree/empty; touch -d @1000000000 tree/numbers")
        .await?;
    let archive = pack(&guest, "tree").await?;
    unpack(&guest, "copy", archive).await?;
    // A pipe and the folder itself get times of their own.
    let listing = |name| {
        format!(
            "cd {name}; find . -mindepth 1 ! -type p -exec stat -c '%n %F %a %s %Y' {{}} + | sort;
             find . -type p -exec stat -c '%n %F %a' {{}} +; stat -c '%F %a' ."
        )
    };
    let (tree, copy) = (guest.sh(&listing("tree")).await?, guest.sh(&listing("copy")).await?);
    assert_eq!(tree, copy);
    guest.sh("cmp tree/numbers copy/numbers; cmp tree/sparse copy/sparse").await?;
    Ok(())
}

async fn a_single_file_comes_out_as_one_entry(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("file", "hello").await?;
    let mut archive = tar::Archive::new(Cursor::new(pack(&guest, "file").await?));
    let mut names = Vec::new();
    for entry in archive.entries()? {
        names.push(entry?.path()?.into_owned());
    }
    assert_eq!(names, [Path::new("file")]);
    Ok(())
}

async fn a_tree_goes_into_a_folder_that_is_made(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    unpack(&guest, "new/folder", archive_of("file")?).await?;
    assert_eq!(guest.sh("cat new/folder/file").await?, "evil");
    Ok(())
}

async fn a_tree_into_nothing_is_refused(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let writer = link.files().tar_in(guest.path("nothing"), TarOptions::default())?;
    assert_eq!(errno(writer.finish().await), libc::ENOENT);
    Ok(())
}

async fn a_tree_that_climbs_is_refused(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    assert!(unpack(&guest, "inside", archive_of("../outside")?).await.is_err());
    assert!(unpack(&guest, "inside", archive_of("a/../../outside")?).await.is_err());
    assert_eq!(guest.sh("ls").await?, "inside");
    Ok(())
}

async fn a_tree_with_an_absolute_path_stays_inside(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    // Refused or made relative: either is safe.
    drop(unpack(&guest, "inside", archive_of("/tmp/boxherd-conformance-outside")?).await);
    guest.sh("test ! -e /tmp/boxherd-conformance-outside").await?;
    Ok(())
}

async fn a_tree_through_a_link_stays_inside(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("mkdir inside outside; ln -s ../outside inside/door").await?;
    // A link of the box itself may be followed or refused; one of the archive may not.
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_link(&mut header(tar::EntryType::Symlink, 0), "own-door", "../outside")?;
    let mut file = header(tar::EntryType::Regular, 4);
    archive.append_data(&mut file, "own-door/file", &b"evil"[..])?;
    drop(unpack(&guest, "inside", archive.into_inner()?).await);
    assert_eq!(guest.sh("ls outside").await?, "");
    Ok(())
}

async fn a_torn_tree_is_an_error(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let mut archive = archive_of("file")?;
    archive.truncate(514);
    assert!(unpack(&guest, "inside", archive).await.is_err());
    assert!(unpack(&guest, "inside", "this is no archive".repeat(100)).await.is_err());
    Ok(())
}

async fn an_empty_tree(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("mkdir empty").await?;
    let archive = pack(&guest, "empty").await?;
    unpack(&guest, "copy", archive).await?;
    assert_eq!(guest.sh("ls -A copy").await?, "");
    Ok(())
}

async fn a_tree_of_many_files(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("mkdir tree; cd tree; seq 5000 | split -l 1 -a 4 -").await?;
    let archive = pack(&guest, "tree").await?;
    unpack(&guest, "copy", archive).await?;
    assert_eq!(guest.sh("diff -r tree copy; ls copy | wc -l").await?, "5000");
    Ok(())
}
