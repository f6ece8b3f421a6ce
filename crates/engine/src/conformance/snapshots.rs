//! Saved disks.

use boxherd_model::{ByteSize, SnapshotId};

use super::limits::fill_disk;
use super::stage::{Any, Guest, code};
use super::{Outcome, Stage, theme};
use crate::Snapshots;
use crate::TruthState::{Running, Suspended};

theme! { "snapshots":
    a_disk_goes_back_to_what_it_was,
    a_snapshot_can_be_restored_more_than_once,
    snapshots_are_independent,
    a_running_box_keeps_running,
    a_suspended_box_stays_suspended,
    a_running_box_is_not_restored,
    snapshots_are_listed,
    a_removed_snapshot_is_not_listed,
    removing_nothing_succeeds,
    restoring_nothing_leaves_the_disk_alone,
    snapshots_go_with_their_box,
    a_restored_box_keeps_its_host_name,
    a_box_that_was_renamed_since_is_restored_under_its_name,
    a_restored_box_has_the_limits_that_it_got_since,
    a_restored_disk_keeps_its_limit,
    a_full_disk_goes_back_to_what_it_was,
}

fn engine(stage: &Stage) -> Result<&dyn Snapshots, Any> {
    stage
        .engine()
        .snapshots()
        .ok_or_else(|| "the capability is there, the snapshots are not".into())
}

async fn take(stage: &Stage, guest: &Guest) -> Result<SnapshotId, Any> {
    let snapshot = SnapshotId::new();
    engine(stage)?.take(guest.id, snapshot).await?;
    Ok(snapshot)
}

/// Stops the box, puts its disk back, and starts it again.
async fn restore(stage: &Stage, guest: &Guest, snapshot: SnapshotId) -> Outcome {
    guest.stop().await?;
    engine(stage)?.restore(guest.id, snapshot).await?;
    guest.start().await?;
    Ok(())
}

async fn a_disk_goes_back_to_what_it_was(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo old > file; echo x > removed; mkdir folder").await?;
    let snapshot = take(stage, &guest).await?;
    guest.sh("echo new > file; rm removed; echo y > added; rmdir folder; touch folder").await?;
    restore(stage, &guest, snapshot).await?;
    assert_eq!(guest.sh("ls -F; cat file").await?, "file\nfolder/\nremoved\nold");
    Ok(())
}

async fn a_snapshot_can_be_restored_more_than_once(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo old > file").await?;
    let snapshot = take(stage, &guest).await?;
    for _ in 0..2 {
        guest.sh("echo new > file").await?;
        restore(stage, &guest, snapshot).await?;
        assert_eq!(guest.sh("cat file").await?, "old");
    }
    Ok(())
}

async fn snapshots_are_independent(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo 1 > file").await?;
    let first = take(stage, &guest).await?;
    guest.sh("echo 2 > file").await?;
    let second = take(stage, &guest).await?;
    restore(stage, &guest, first).await?;
    assert_eq!(guest.sh("cat file").await?, "1");
    engine(stage)?.remove(guest.id, first).await?;
    restore(stage, &guest, second).await?;
    assert_eq!(guest.sh("cat file").await?, "2");
    Ok(())
}

async fn a_running_box_keeps_running(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let pid = guest.spawn("exec sleep 1000").await?;
    take(stage, &guest).await?;
    assert_eq!(guest.state().await?, Some(Running));
    assert!(guest.lives(&pid).await?);
    Ok(())
}

async fn a_suspended_box_stays_suspended(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.suspend().await?;
    take(stage, &guest).await?;
    assert_eq!(guest.state().await?, Some(Suspended));
    Ok(())
}

async fn a_running_box_is_not_restored(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let snapshot = take(stage, &guest).await?;
    assert_eq!(code(engine(stage)?.restore(guest.id, snapshot).await), "wrong-state");
    assert_eq!(guest.sh("echo fine").await?, "fine");
    Ok(())
}

async fn snapshots_are_listed(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    assert!(engine(stage)?.list(guest.id).await?.is_empty());
    let mut taken = [take(stage, &guest).await?, take(stage, &guest).await?];
    let mut listed = engine(stage)?.list(guest.id).await?;
    taken.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, taken);
    Ok(())
}

async fn a_removed_snapshot_is_not_listed(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let snapshot = take(stage, &guest).await?;
    engine(stage)?.remove(guest.id, snapshot).await?;
    assert!(engine(stage)?.list(guest.id).await?.is_empty());
    Ok(())
}

async fn removing_nothing_succeeds(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    Ok(engine(stage)?.remove(guest.id, SnapshotId::new()).await?)
}

async fn restoring_nothing_leaves_the_disk_alone(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo kept > file").await?;
    guest.stop().await?;
    assert_ne!(code(engine(stage)?.restore(guest.id, SnapshotId::new()).await), "ok");
    guest.start().await?;
    assert_eq!(guest.sh("cat file").await?, "kept");
    Ok(())
}

async fn snapshots_go_with_their_box(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    take(stage, &guest).await?;
    stage.engine().delete(guest.id).await?;
    assert_eq!(guest.state().await?, None);
    Ok(())
}

async fn a_restored_box_keeps_its_host_name(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let snapshot = take(stage, &guest).await?;
    let name = stage.spec().name;
    stage.engine().rename(guest.id, &name).await?;
    restore(stage, &guest, snapshot).await?;
    assert_eq!(guest.sh("hostname").await?, name.to_string());
    Ok(())
}

async fn a_box_that_was_renamed_since_is_restored_under_its_name(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo old > file").await?;
    let snapshot = take(stage, &guest).await?;
    guest.stop().await?;
    let name = stage.spec().name;
    stage.engine().rename(guest.id, &name).await?;
    engine(stage)?.restore(guest.id, snapshot).await?;
    // Whoever has never seen it finds it too.
    let truths = stage.reopen().await?.list().await?;
    let truth = truths.iter().find(|truth| truth.id == guest.id).ok_or("it is not there")?;
    assert_eq!(truth.name, name);
    guest.start().await?;
    assert_eq!(guest.sh("cat file").await?, "old");
    Ok(())
}

async fn a_restored_box_has_the_limits_that_it_got_since(stage: &Stage) -> Outcome {
    let small = Some(ByteSize::from_mib(64));
    let guest = stage.running_with(|spec| spec.limits.memory = small).await?;
    let snapshot = take(stage, &guest).await?;
    guest.stop().await?;
    let mut spec = guest.spec.clone();
    spec.limits.memory = Some(ByteSize::from_mib(512));
    stage.engine().reshape(guest.id, &spec).await?;
    engine(stage)?.restore(guest.id, snapshot).await?;
    guest.start().await?;
    // More than it had.
    guest.sh("head -c 150000000 /dev/zero | tail -c 150000000 > /dev/null").await?;
    Ok(())
}

async fn a_restored_disk_keeps_its_limit(stage: &Stage) -> Outcome {
    let limit = ByteSize::from_mib(64);
    let guest = stage.running_with(|spec| spec.limits.disk = Some(limit)).await?;
    guest.sh("echo old > file").await?;
    let snapshot = take(stage, &guest).await?;
    restore(stage, &guest, snapshot).await?;
    fill_disk(&guest, limit).await?;
    assert_eq!(guest.sh("cat file").await?, "old");
    Ok(())
}

async fn a_full_disk_goes_back_to_what_it_was(stage: &Stage) -> Outcome {
    let limit = ByteSize::from_mib(64);
    let guest = stage.running_with(|spec| spec.limits.disk = Some(limit)).await?;
    guest.sh("echo old > file").await?;
    let snapshot = take(stage, &guest).await?;
    fill_disk(&guest, limit).await?;
    restore(stage, &guest, snapshot).await?;
    assert_eq!(guest.sh("ls; cat file").await?, "file\nold");
    // What was there before the restore is freed by and by.
    guest.sh("until head -c 32000000 /dev/urandom > new; do sleep 0.01; done").await?;
    Ok(())
}
