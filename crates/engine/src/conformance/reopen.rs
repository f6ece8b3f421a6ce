//! The caller goes and comes back: boxes are found by what is true.

use boxherd_link::{ExitStatus, Link};

use super::stage::{GRACE, line, to_end};
use super::{Outcome, Stage, theme};
use crate::TruthState::{Running, Stopped};

theme! { "reopen":
    a_stopped_box_is_still_there,
    a_running_box_still_runs,
    a_command_is_still_running,
    a_lost_command_is_found_again,
    the_next_caller_stops_a_box,
    the_next_caller_deletes_a_box,
    both_callers_see_the_same,
    what_was_suspended_still_is,
    snapshots_are_still_there,
    the_console_goes_on,
}

async fn a_stopped_box_is_still_there(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo kept > file").await?;
    guest.stop().await?;
    let next = stage.reopen().await?;
    let truth = next.inspect(guest.id).await?.ok_or("it is not there")?;
    assert_eq!((truth.name, matches!(truth.state, Stopped(_))), (guest.spec.name.clone(), true));
    next.start(guest.id).await?;
    assert_eq!(guest.sh("cat file").await?, "kept");
    Ok(())
}

async fn a_running_box_still_runs(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let next = stage.reopen().await?;
    let listed = next.list().await?;
    let truth = listed.iter().find(|truth| truth.id == guest.id).ok_or("it is not there")?;
    assert_eq!(truth.state, Running);
    Link::open(next.connect(guest.id).await?).await?.stats().await?;
    Ok(())
}

async fn a_command_is_still_running(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let pid = guest.spawn("exec sleep 1000").await?;
    let next = stage.reopen().await?;
    next.start(guest.id).await?;
    assert!(guest.lives(&pid).await?);
    Ok(())
}

async fn a_lost_command_is_found_again(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec =
        link.exec(guest.shell("echo ready; until test -e go; do sleep 0.01; done")).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    let (id, offsets) = (exec.id(), exec.offsets());
    exec.detach();
    link.close().await;
    let next = stage.reopen().await?;
    let link = Link::open(next.connect(guest.id).await?).await?;
    let mut exec = link.reattach(id, offsets).await?;
    guest.sh("touch go").await?;
    assert_eq!(to_end(&mut exec).await?.1, ExitStatus::Code(0));
    Ok(())
}

async fn the_next_caller_stops_a_box(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    stage.reopen().await?.stop(guest.id, GRACE).await?;
    assert!(matches!(guest.state().await?, Some(Stopped(_))));
    Ok(())
}

async fn the_next_caller_deletes_a_box(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    stage.reopen().await?.delete(guest.id).await?;
    assert_eq!(guest.state().await?, None);
    Ok(())
}

async fn both_callers_see_the_same(stage: &Stage) -> Outcome {
    let next = stage.reopen().await?;
    let guest = stage.running().await?;
    assert_eq!(next.inspect(guest.id).await?, stage.engine().inspect(guest.id).await?);
    assert_eq!(next.capabilities(), stage.engine().capabilities());
    assert_eq!(next.name(), stage.engine().name());
    Ok(())
}

async fn what_was_suspended_still_is(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let pid = guest.spawn("exec sleep 1000").await?;
    guest.suspend().await?;
    let next = stage.reopen().await?;
    let truth = next.inspect(guest.id).await?.ok_or("it is not there")?;
    assert_eq!(truth.state, crate::TruthState::Suspended);
    next.resume(guest.id).await?;
    assert!(guest.lives(&pid).await?);
    Ok(())
}

async fn snapshots_are_still_there(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    let snapshot = boxherd_model::SnapshotId::new();
    stage.engine().snapshots().ok_or("no snapshots")?.take(guest.id, snapshot).await?;
    let next = stage.reopen().await?;
    let listed = next.snapshots().ok_or("no snapshots")?.list(guest.id).await?;
    assert_eq!(listed, [snapshot]);
    Ok(())
}

async fn the_console_goes_on(stage: &Stage) -> Outcome {
    let cmd = ["sh", "-c", "echo hello; exec sleep 1000"].map(str::to_owned).to_vec();
    let guest = stage.stopped_with(|spec| spec.cmd = cmd).await?;
    guest.start().await?;
    guest.console_shows("hello").await?;
    let next = stage.reopen().await?;
    let chunk = next.console(guest.id, 0).await?;
    assert_eq!(chunk, stage.engine().console(guest.id, 0).await?);
    Ok(())
}
