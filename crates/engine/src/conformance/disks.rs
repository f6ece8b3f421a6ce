//! Disks of their own.

use boxherd_model::{ByteSize, DiskId, DiskMount};

use super::stage::{Any, Guest, code};
use super::{Outcome, Stage, theme};
use crate::{DiskTruth, Disks};

theme! { "disks":
    a_disk_is_attached_while_a_box_runs_and_keeps_what_was_written,
    a_disk_that_is_attached_is_nobody_elses,
    of_two_who_attach_at_once_one_wins,
    attaching_twice_is_attaching_once,
    a_disk_stays_attached_while_its_box_is_stopped,
    a_disk_is_attached_to_a_stopped_box,
    a_disk_is_detached_from_a_stopped_box,
    a_disk_survives_the_end_of_its_caller,
    a_disk_is_detached_when_its_box_is_deleted,
    an_attached_disk_is_not_removed,
    a_disk_that_is_not_there_is_not_attached,
    removing_no_disk_succeeds,
    detaching_what_is_not_attached_succeeds,
    folders_on_the_way_are_made,
    copies_of_a_box_do_not_have_its_disks,
    a_box_has_more_than_one_disk,
    isolated_a_read_only_disk_takes_nothing,
    isolated_a_disk_in_use_is_not_detached,
    isolated_a_disk_holds_no_more_than_its_size,
    isolated_a_disk_belongs_to_the_root_of_the_box,
    isolated_the_folder_below_a_disk_stays_as_it_was,
    isolated_links_lead_nowhere_but_into_the_box,
    isolated_nothing_is_mounted_over_other_mounts,
    isolated_nothing_is_mounted_where_a_file_is,
    isolated_a_suspended_box_takes_a_disk,
    isolated_a_disk_is_detached_wherever_it_was_moved,
    isolated_a_box_that_took_the_place_of_its_disk_starts_without_it,
    nested_a_read_only_disk_is_not_made_writable,
    nested_a_disk_that_is_mounted_elsewhere_is_not_detached,
}

const SIZE: ByteSize = ByteSize::from_mib(32);

/// Disks that go when the case does.
struct Shelf<'a> {
    engine: &'a dyn Disks,
}

impl<'a> Shelf<'a> {
    fn of(stage: &'a Stage) -> Result<Self, Any> {
        let engine = stage.engine().disks();
        Ok(Self { engine: engine.ok_or("the capability is there, the disks are not")? })
    }

    async fn make(&self, stage: &Stage) -> Result<DiskId, Any> {
        let disk = stage.disk();
        self.engine.make(disk, SIZE).await?;
        Ok(disk)
    }

    async fn truth(&self, disk: DiskId) -> Result<Option<DiskTruth>, Any> {
        Ok(self.engine.list().await?.into_iter().find(|truth| truth.id == disk))
    }
}

/// A mount in the working folder of a case.
fn at(guest: &Guest, disk: DiskId, name: &str) -> DiskMount {
    mount(disk, &guest.path(name).to_string_lossy())
}

fn mount(disk: DiskId, path: &str) -> DiskMount {
    DiskMount { disk, path: path.parse().expect("a place for a disk"), read_only: false }
}

async fn a_disk_is_attached_while_a_box_runs_and_keeps_what_was_written(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let (one, other) = (stage.running().await?, stage.running().await?);
    let here = at(&one, disk, "data");
    shelf.engine.attach(one.id, &here).await?;
    assert_eq!(shelf.truth(disk).await?.and_then(|t| t.attached), Some((one.id, here)));
    one.sh("echo hello > data/file").await?;
    shelf.engine.detach(one.id, disk).await?;
    assert_eq!(one.sh("ls data").await?, "");
    assert_eq!(shelf.truth(disk).await?.map(|t| t.attached), Some(None));
    shelf.engine.attach(other.id, &at(&other, disk, "elsewhere")).await?;
    assert_eq!(other.sh("cat elsewhere/file").await?, "hello");
    Ok(())
}

async fn a_disk_that_is_attached_is_nobody_elses(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let (one, other) = (stage.running().await?, stage.running().await?);
    shelf.engine.attach(one.id, &at(&one, disk, "data")).await?;
    let again = shelf.engine.attach(other.id, &at(&other, disk, "data")).await;
    assert_eq!(code(again), "disk-in-use");
    let elsewhere = shelf.engine.attach(one.id, &at(&one, disk, "elsewhere")).await;
    assert_eq!(code(elsewhere), "disk-in-use");
    shelf.engine.detach(other.id, disk).await?;
    one.sh("echo fine > data/file").await?;
    Ok(())
}

async fn of_two_who_attach_at_once_one_wins(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let (one, other) = (stage.running().await?, stage.running().await?);
    for _ in 0..3 {
        let (here, there) = (at(&one, disk, "data"), at(&other, disk, "data"));
        let (first, second) =
            tokio::join!(shelf.engine.attach(one.id, &here), shelf.engine.attach(other.id, &there));
        let won = first.is_ok();
        let mut codes = [code(first), code(second)];
        codes.sort_unstable();
        assert_eq!(codes, ["disk-in-use", "ok"]);
        let (winner, loser) = if won { (&one, &other) } else { (&other, &one) };
        let truth = shelf.truth(disk).await?.and_then(|truth| truth.attached);
        assert_eq!(truth.map(|(id, _)| id), Some(winner.id));
        winner.sh("echo x > data/file").await?;
        loser.sh("! test -e data/file").await?;
        shelf.engine.detach(winner.id, disk).await?;
    }
    Ok(())
}

async fn attaching_twice_is_attaching_once(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    for _ in 0..2 {
        shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    }
    guest.sh("echo there > data/file").await?;
    shelf.engine.detach(guest.id, disk).await?;
    assert_eq!(guest.sh("ls data").await?, "");
    Ok(())
}

async fn a_disk_stays_attached_while_its_box_is_stopped(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    guest.sh("echo kept > data/file").await?;
    for _ in 0..2 {
        guest.stop().await?;
        guest.start().await?;
        assert_eq!(guest.sh("cat data/file").await?, "kept");
    }
    shelf.engine.detach(guest.id, disk).await?;
    assert_eq!(guest.sh("ls data").await?, "");
    Ok(())
}

async fn a_disk_is_attached_to_a_stopped_box(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    guest.stop().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    guest.start().await?;
    guest.sh("echo x > data/file").await?;
    shelf.engine.detach(guest.id, disk).await?;
    assert_eq!(guest.sh("ls data").await?, "");
    Ok(())
}

async fn a_disk_is_detached_from_a_stopped_box(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    guest.sh("echo x > data/file").await?;
    guest.stop().await?;
    shelf.engine.detach(guest.id, disk).await?;
    guest.start().await?;
    assert_eq!(guest.sh("ls data").await?, "");
    Ok(())
}

async fn a_disk_survives_the_end_of_its_caller(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    guest.sh("echo kept > data/file").await?;
    let next = stage.reopen().await?;
    let disks = next.disks().ok_or("no disks")?;
    assert_eq!(guest.sh("cat data/file").await?, "kept");
    let listed = disks.list().await?.into_iter().find(|truth| truth.id == disk);
    assert_eq!(listed.and_then(|t| t.attached).map(|(id, _)| id), Some(guest.id));
    disks.detach(guest.id, disk).await?;
    assert_eq!(guest.sh("ls data").await?, "");
    Ok(())
}

async fn a_disk_is_detached_when_its_box_is_deleted(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let (one, other) = (stage.running().await?, stage.running().await?);
    shelf.engine.attach(one.id, &at(&one, disk, "data")).await?;
    one.sh("echo kept > data/file").await?;
    stage.engine().delete(one.id).await?;
    assert_eq!(shelf.truth(disk).await?.map(|t| t.attached), Some(None));
    shelf.engine.attach(other.id, &at(&other, disk, "data")).await?;
    assert_eq!(other.sh("cat data/file").await?, "kept");
    Ok(())
}

async fn an_attached_disk_is_not_removed(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    assert_eq!(code(shelf.engine.remove(disk).await), "disk-in-use");
    guest.stop().await?;
    assert_eq!(code(shelf.engine.remove(disk).await), "disk-in-use");
    shelf.engine.detach(guest.id, disk).await?;
    shelf.engine.remove(disk).await?;
    assert_eq!(shelf.truth(disk).await?, None);
    Ok(())
}

async fn a_disk_that_is_not_there_is_not_attached(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let guest = stage.running().await?;
    let attached = shelf.engine.attach(guest.id, &at(&guest, DiskId::new(), "data")).await;
    assert_eq!(code(attached), "no-such-disk");
    let disk = shelf.make(stage).await?;
    let nobody = boxherd_model::BoxId::new();
    assert_eq!(code(shelf.engine.attach(nobody, &mount(disk, "/data")).await), "no-such-box");
    assert_eq!(shelf.truth(disk).await?.map(|t| t.attached), Some(None));
    Ok(())
}

async fn removing_no_disk_succeeds(stage: &Stage) -> Outcome {
    Ok(Shelf::of(stage)?.engine.remove(DiskId::new()).await?)
}

async fn detaching_what_is_not_attached_succeeds(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.detach(guest.id, disk).await?;
    Ok(shelf.engine.detach(guest.id, DiskId::new()).await?)
}

async fn folders_on_the_way_are_made(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    guest.sh("mkdir here").await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "here/and/there")).await?;
    guest.sh("echo x > here/and/there/file").await?;
    shelf.engine.detach(guest.id, disk).await?;
    assert_eq!(guest.sh("ls -R here").await?, "here:\nand\n\nhere/and:\nthere\n\nhere/and/there:");
    Ok(())
}

async fn copies_of_a_box_do_not_have_its_disks(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    guest.sh("echo x > data/file; echo y > file").await?;
    let child = crate::Child { id: stage.id(), spec: stage.spec() };
    let made = stage.engine().fork(guest.id, std::slice::from_ref(&child)).await?;
    let made = made.into_iter().next().ok_or("no copy")?;
    let copy = stage.guest(child.id, child.spec, made);
    copy.start().await?;
    assert_eq!(copy.sh("ls data; cat file").await?, "y");
    assert_eq!(guest.sh("cat data/file").await?, "x");
    Ok(())
}

async fn a_box_has_more_than_one_disk(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let (first, second) = (shelf.make(stage).await?, shelf.make(stage).await?);
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, first, "first")).await?;
    shelf.engine.attach(guest.id, &at(&guest, second, "second")).await?;
    guest.sh("echo 1 > first/file; echo 2 > second/file").await?;
    guest.stop().await?;
    guest.start().await?;
    assert_eq!(guest.sh("cat first/file second/file").await?, "1\n2");
    shelf.engine.detach(guest.id, first).await?;
    assert_eq!(guest.sh("ls first; cat second/file").await?, "2");
    Ok(())
}

async fn isolated_a_read_only_disk_takes_nothing(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    let writable = at(&guest, disk, "data");
    shelf.engine.attach(guest.id, &writable).await?;
    guest.sh("echo kept > data/file").await?;
    shelf.engine.detach(guest.id, disk).await?;
    let read_only = DiskMount { read_only: true, ..writable };
    shelf.engine.attach(guest.id, &read_only).await?;
    for _ in 0..2 {
        let tried = "! echo new > data/file; touch data/new && echo new; rm -f data/file && echo gone; \
                     cat data/file";
        assert_eq!(guest.sh(&format!("({tried}) 2>&1 | grep -v Read-only")).await?, "kept");
        guest.stop().await?;
        guest.start().await?;
    }
    Ok(())
}

async fn isolated_a_disk_in_use_is_not_detached(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    let pid = guest.spawn("cd data; exec sleep 1000").await?;
    assert_eq!(code(shelf.engine.detach(guest.id, disk).await), "disk-in-use");
    assert!(shelf.truth(disk).await?.is_some_and(|truth| truth.attached.is_some()));
    guest.sh("echo fine > data/file").await?;
    guest.sh(&format!("kill {pid}")).await?;
    guest.ends(&pid).await?;
    Ok(shelf.engine.detach(guest.id, disk).await?)
}

async fn isolated_a_disk_holds_no_more_than_its_size(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    let line = format!("! head -c {} /dev/zero > data/file", SIZE.bytes());
    let said = guest.sh(&format!("({line}) 2>&1")).await?;
    assert!(said.contains(stage.says_full()), "{said}");
    let written: u64 = guest.sh("stat -c %s data/file").await?.parse()?;
    assert!(written > SIZE.bytes() / 2 && written < SIZE.bytes(), "{written}");
    // The box's own disk is not full.
    guest.sh("echo fine > file; rm data/file; echo fine > data/file").await?;
    Ok(())
}

async fn isolated_a_disk_belongs_to_the_root_of_the_box(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let (one, other) = (stage.running().await?, stage.running().await?);
    shelf.engine.attach(one.id, &at(&one, disk, "data")).await?;
    one.sh("touch data/file; chown 7:8 data/file").await?;
    assert_eq!(one.sh("stat -c %u:%g data data/file").await?, "0:0\n7:8");
    shelf.engine.detach(one.id, disk).await?;
    shelf.engine.attach(other.id, &at(&other, disk, "data")).await?;
    assert_eq!(other.sh("stat -c %u:%g data data/file").await?, "0:0\n7:8");
    Ok(())
}

async fn isolated_the_folder_below_a_disk_stays_as_it_was(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    guest.sh("mkdir data; chown 7:8 data; chmod 2750 data").await?;
    let look = "stat -c '%u:%g %a %i' data; ls -A data";
    let before = guest.sh(look).await?;
    for stops in [false, true] {
        shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
        if stops {
            guest.stop().await?;
            guest.start().await?;
        }
        shelf.engine.detach(guest.id, disk).await?;
        assert_eq!(guest.sh(look).await?, before);
    }
    Ok(())
}

async fn isolated_links_lead_nowhere_but_into_the_box(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    guest.sh("mkdir real; ln -s /conformance/real inside; ln -s ../../../../.. up").await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "inside/data")).await?;
    guest.sh("echo x > real/data/file").await?;
    shelf.engine.detach(guest.id, disk).await?;
    // Above the root is the root, of the box.
    shelf.engine.attach(guest.id, &at(&guest, disk, "up/conformance/data")).await?;
    assert_eq!(guest.sh("cat data/file").await?, "x");
    Ok(shelf.engine.detach(guest.id, disk).await?)
}

async fn isolated_nothing_is_mounted_over_other_mounts(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let (disk, second) = (shelf.make(stage).await?, shelf.make(stage).await?);
    let guest = stage.running().await?;
    guest
        .sh("ln -s /proc proc; ln -s /proc/self/root host; ln -s /dev/shm shm; ln -s /sys sys;
             ln -s loop loop; ln -s nowhere dangling")
        .await?;
    for name in ["proc", "proc/sys", "host", "host/tmp", "shm", "shm/x", "sys", "loop", "dangling"]
    {
        let refused = shelf.engine.attach(guest.id, &at(&guest, disk, name)).await;
        assert_eq!(code(refused), "mount-path", "{name}");
        assert_eq!(shelf.truth(disk).await?.map(|t| t.attached), Some(None), "{name}");
    }
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    for name in ["data", "data/below"] {
        let refused = shelf.engine.attach(guest.id, &at(&guest, second, name)).await;
        assert_eq!(code(refused), "mount-path", "{name}");
    }
    Ok(())
}

async fn isolated_nothing_is_mounted_where_a_file_is(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    guest.sh("touch file").await?;
    for name in ["file", "file/below"] {
        let refused = shelf.engine.attach(guest.id, &at(&guest, disk, name)).await;
        assert_eq!(code(refused), "mount-path", "{name}");
    }
    Ok(())
}

async fn isolated_a_suspended_box_takes_a_disk(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    guest.suspend().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    guest.resume().await?;
    guest.sh("echo x > data/file").await?;
    guest.suspend().await?;
    shelf.engine.detach(guest.id, disk).await?;
    guest.resume().await?;
    assert_eq!(guest.sh("ls data").await?, "");
    Ok(())
}

async fn nested_a_read_only_disk_is_not_made_writable(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running_with(|spec| spec.nesting = true).await?;
    let read_only = DiskMount { read_only: true, ..at(&guest, disk, "data") };
    shelf.engine.attach(guest.id, &read_only).await?;
    let line = "for how in remount,rw remount,rw,bind; do mount -o $how data; done;
                mkdir other; mount --bind data other; mount -o remount,rw,bind other;
                touch data/new && echo new; touch other/new && echo new; umount other; echo tried";
    assert_eq!(guest.sh(&format!("({line}) 2>/dev/null")).await?, "tried");
    Ok(())
}

async fn nested_a_disk_that_is_mounted_elsewhere_is_not_detached(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let (guest, other) =
        (stage.running_with(|spec| spec.nesting = true).await?, stage.running().await?);
    shelf.engine.attach(guest.id, &at(&guest, disk, "data")).await?;
    let pid = guest.spawn("exec unshare --mount sh -c \"touch ready; exec sleep 1000\"").await?;
    guest.sh("until test -e ready; do sleep 0.01; done").await?;
    assert_eq!(code(shelf.engine.detach(guest.id, disk).await), "disk-in-use");
    let taken = shelf.engine.attach(other.id, &at(&other, disk, "data")).await;
    assert_eq!(code(taken), "disk-in-use");
    guest.sh(&format!("kill {pid}")).await?;
    guest.ends(&pid).await?;
    shelf.engine.detach(guest.id, disk).await?;
    Ok(shelf.engine.attach(other.id, &at(&other, disk, "data")).await?)
}

async fn isolated_a_disk_is_detached_wherever_it_was_moved(stage: &Stage) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "here/data")).await?;
    // What is behind the old way is not what was mounted, and stays.
    guest.sh("mv here there; ln -s /proc here; echo x > 'there/data/file'").await?;
    shelf.engine.detach(guest.id, disk).await?;
    assert_eq!(guest.sh("ls there/data; test -e here/self && echo there").await?, "there");
    Ok(())
}

async fn isolated_a_box_that_took_the_place_of_its_disk_starts_without_it(
    stage: &Stage,
) -> Outcome {
    let shelf = Shelf::of(stage)?;
    let disk = shelf.make(stage).await?;
    let guest = stage.running().await?;
    shelf.engine.attach(guest.id, &at(&guest, disk, "here/data")).await?;
    guest.sh("mv here there; touch here").await?;
    guest.stop().await?;
    assert_eq!(code(guest.start().await), "refused");
    assert!(matches!(guest.state().await?, Some(crate::TruthState::Stopped(_))));
    shelf.engine.detach(guest.id, disk).await?;
    guest.start().await?;
    assert_eq!(guest.sh("ls there").await?, "data");
    Ok(())
}
