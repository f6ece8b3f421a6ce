//! Entries of directories: kinds, links, lists, removal, permissions, owners, times.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use boxherd_link::{FileKind, MkdirOptions, RemoveOptions};

use super::stage::errno;
use super::{Outcome, Stage, theme};

theme! { "entries":
    stat_follows_links_and_lstat_does_not,
    a_symbolic_link_that_leads_nowhere,
    a_loop_of_links_is_refused,
    hard_links_share_their_content,
    a_list_has_every_kind_of_file,
    a_list_of_many_files,
    a_folder_is_made_once,
    a_file_is_removed,
    a_full_folder_is_removed_only_on_request,
    removing_a_link_leaves_its_target,
    removing_nothing_succeeds_only_on_request,
    rename_replaces,
    permissions_are_set,
    times_are_set,
    the_file_system_has_a_size,
    owners_are_set,
}

async fn stat_follows_links_and_lstat_does_not(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("printf 12345 > file; ln -s file link").await?;
    let files = guest.link().await?.files();
    let stat = files.stat(guest.path("link")).await?;
    assert_eq!((stat.kind, stat.size), (FileKind::File, 5));
    assert_eq!(files.lstat(guest.path("link")).await?.kind, FileKind::Symlink);
    assert_eq!(files.readlink(guest.path("link")).await?, Path::new("file"));
    Ok(())
}

async fn a_symbolic_link_that_leads_nowhere(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    files.symlink("/no/such/target\n", guest.path("link")).await?;
    assert_eq!(files.readlink(guest.path("link")).await?, Path::new("/no/such/target\n"));
    assert_eq!(errno(files.stat(guest.path("link")).await), libc::ENOENT);
    assert_eq!(errno(files.symlink("x", guest.path("link")).await), libc::EEXIST);
    Ok(())
}

async fn a_loop_of_links_is_refused(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("ln -s one two; ln -s two one").await?;
    let files = guest.link().await?.files();
    assert_eq!(errno(files.stat(guest.path("one")).await), libc::ELOOP);
    Ok(())
}

async fn hard_links_share_their_content(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("one", "shared").await?;
    let files = guest.link().await?.files();
    files.hard_link(guest.path("one"), guest.path("two")).await?;
    assert_eq!(guest.get("two").await?, "shared");
    let (one, two) = (files.stat(guest.path("one")).await?, files.stat(guest.path("two")).await?);
    assert_eq!((one.ino, one.nlink), (two.ino, 2));
    Ok(())
}

async fn a_list_has_every_kind_of_file(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("touch a-file; mkdir b-folder; ln -s there c-link; mkfifo d-pipe").await?;
    let listed = guest.link().await?.files().list(guest.path("")).await?;
    let kinds: Vec<_> = listed.iter().map(|entry| entry.stat.kind).collect();
    assert_eq!(kinds, [FileKind::File, FileKind::Directory, FileKind::Symlink, FileKind::Fifo]);
    assert_eq!(listed[2].target.as_deref(), Some(Path::new("there")));
    Ok(())
}

async fn a_list_of_many_files(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("seq -f 'file-%05g' 20000 | xargs touch").await?;
    let listed = guest.link().await?.files().list(guest.path("")).await?;
    assert_eq!(listed.len(), 20_000);
    assert_eq!(listed[19_999].name, "file-20000");
    Ok(())
}

async fn a_folder_is_made_once(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    let private = MkdirOptions { mode: Some(0o700), parents: false };
    files.mkdir(guest.path("folder"), private).await?;
    assert_eq!(files.stat(guest.path("folder")).await?.mode & 0o7777, 0o700);
    assert_eq!(errno(files.mkdir(guest.path("folder"), private).await), libc::EEXIST);
    let parents = MkdirOptions { mode: None, parents: true };
    files.mkdir(guest.path("folder"), parents).await?;
    files.mkdir(guest.path("x/y/z"), parents).await?;
    assert_eq!(files.stat(guest.path("x/y/z")).await?.kind, FileKind::Directory);
    Ok(())
}

async fn a_file_is_removed(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("file", "x").await?;
    let files = guest.link().await?.files();
    files.remove(guest.path("file"), RemoveOptions::default()).await?;
    assert_eq!(errno(files.stat(guest.path("file")).await), libc::ENOENT);
    Ok(())
}

async fn a_full_folder_is_removed_only_on_request(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("mkdir -p folder/a/b; touch folder/a/b/c; chmod 0 folder/a/b/c").await?;
    let files = guest.link().await?.files();
    let refused = files.remove(guest.path("folder"), RemoveOptions::default()).await;
    assert_eq!(errno(refused), libc::ENOTEMPTY);
    let all = RemoveOptions { recursive: true, missing_ok: false };
    files.remove(guest.path("folder"), all).await?;
    assert_eq!(guest.sh("ls -A").await?, "");
    Ok(())
}

async fn removing_a_link_leaves_its_target(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("mkdir target; touch target/file; ln -s target link").await?;
    let all = RemoveOptions { recursive: true, missing_ok: false };
    guest.link().await?.files().remove(guest.path("link"), all).await?;
    assert_eq!(guest.sh("echo *; ls target").await?, "target\nfile");
    Ok(())
}

async fn removing_nothing_succeeds_only_on_request(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let files = guest.link().await?.files();
    let refused = files.remove(guest.path("nothing"), RemoveOptions::default()).await;
    assert_eq!(errno(refused), libc::ENOENT);
    let lenient = RemoveOptions { recursive: false, missing_ok: true };
    files.remove(guest.path("nothing"), lenient).await?;
    Ok(())
}

async fn rename_replaces(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo new > from; echo old > to").await?;
    let files = guest.link().await?.files();
    files.rename(guest.path("from"), guest.path("to")).await?;
    assert_eq!(guest.sh("echo *; cat to").await?, "to\nnew");
    assert_eq!(errno(files.rename(guest.path("from"), guest.path("to")).await), libc::ENOENT);
    Ok(())
}

async fn permissions_are_set(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.put("file", "x").await?;
    let files = guest.link().await?.files();
    files.chmod(guest.path("file"), 0o1751).await?;
    assert_eq!(files.stat(guest.path("file")).await?.mode & 0o7777, 0o1751);
    assert_eq!(errno(files.chmod(guest.path("nothing"), 0o600).await), libc::ENOENT);
    Ok(())
}

async fn times_are_set(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("touch file; ln -s file link").await?;
    let files = guest.link().await?.files();
    let then = UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    files.set_times(guest.path("file"), None, Some(then), false).await?;
    let stat = files.stat(guest.path("file")).await?;
    assert_eq!(stat.modified, then);
    assert_ne!(stat.accessed, then);
    files.set_times(guest.path("link"), Some(then), None, true).await?;
    assert_eq!(files.lstat(guest.path("link")).await?.accessed, then);
    Ok(())
}

async fn the_file_system_has_a_size(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let fs = guest.link().await?.files().statvfs(guest.path("")).await?;
    assert!(fs.total > 0 && fs.available <= fs.free && fs.free <= fs.total, "{fs:?}");
    assert!(!fs.read_only);
    assert_eq!(fs.name_max, 255);
    Ok(())
}

async fn owners_are_set(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("touch file; ln -s file link").await?;
    let files = guest.link().await?.files();
    files.chown(guest.path("file"), Some(1000), Some(2000), false).await?;
    files.chown(guest.path("link"), Some(3000), None, true).await?;
    assert_eq!(guest.sh("stat -c %u:%g file link").await?, "1000:2000\n3000:0");
    Ok(())
}
