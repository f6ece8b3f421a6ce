//! Boxes whose memory is saved: hibernated ones, and copies that go on where their source was.

use boxherd_link::{ExecRequest, Link};

use super::stage::{Any, Guest, code, line};
use super::{Outcome, Stage, theme};
use crate::Child;
use crate::TruthState::{Hibernated, Running, Stopped};

theme! { "memory":
    a_hibernated_box_says_so,
    a_hibernated_box_has_no_processes,
    memory_comes_back,
    a_process_goes_on_after_hibernation,
    starting_a_hibernated_box_brings_it_back,
    a_box_hibernates_again_and_again,
    files_written_before_are_there,
    a_stopped_box_does_not_hibernate,
    nothing_does_not_hibernate,
    stopping_a_hibernated_box_gives_its_memory_up,
    a_hibernated_box_can_be_deleted,
    a_hibernated_box_is_found_again,
    a_command_that_runs_meanwhile_ends_with_an_error,
    a_box_renamed_while_it_hibernates_knows_it,
    a_live_copy_goes_on_where_its_source_was,
    the_source_of_a_live_copy_goes_on,
    a_live_copy_is_another_machine,
    many_live_copies_at_once,
    live_copies_go_their_own_way,
    a_live_copy_of_a_live_copy,
    a_stopped_box_has_no_live_copies,
    a_command_of_the_source_goes_on_for_the_next_link,
}

/// A line that counts in memory, for ever.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; sleep 0.02; done";

/// A box in which something counts, and the process that does.
async fn counting(stage: &Stage) -> Result<(Guest, String), Any> {
    let guest = stage.running().await?;
    let pid = guest.spawn(COUNT).await?;
    reaches(&guest, 3).await?;
    Ok((guest, pid))
}

async fn count(guest: &Guest) -> Result<u64, Any> {
    // The file is empty for a moment each time it is written.
    const READ: &str =
        "until n=$(cat /dev/shm/count); test -n \"$n\"; do sleep 0.01; done; echo $n";
    Ok(guest.sh(READ).await?.parse()?)
}

/// Waits until it has counted so far.
async fn reaches(guest: &Guest, count: u64) -> Outcome {
    let line = format!(
        "until test -s /dev/shm/count && test $(cat /dev/shm/count) -ge {count}; do sleep 0.01; done"
    );
    guest.sh(&line).await?;
    Ok(())
}

async fn hibernate(stage: &Stage, guest: &Guest) -> Result<(), crate::EngineError> {
    stage.engine().hibernate(guest.id).await
}

/// Live copies, which are deleted when the case ends and do not run yet.
async fn copies(stage: &Stage, source: &Guest, count: usize) -> Result<Vec<Guest>, Any> {
    let children: Vec<Child> =
        (0..count).map(|_| Child { id: stage.id(), spec: stage.spec() }).collect();
    let made = stage.engine().fork_live(source.id, &children).await?;
    assert_eq!(made.len(), count);
    let guests = children.into_iter().zip(made);
    Ok(guests.map(|(child, made)| stage.guest(child.id, child.spec, made)).collect())
}

async fn started_copy(stage: &Stage, source: &Guest) -> Result<Guest, Any> {
    let copy = copies(stage, source, 1).await?.pop().ok_or("one was asked for")?;
    copy.start().await?;
    Ok(copy)
}

async fn a_hibernated_box_says_so(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    hibernate(stage, &guest).await?;
    assert_eq!(guest.state().await?, Some(Hibernated));
    guest.resume().await?;
    assert_eq!(guest.state().await?, Some(Running));
    Ok(())
}

async fn a_hibernated_box_has_no_processes(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    hibernate(stage, &guest).await?;
    assert_eq!(stage.engine().usage(guest.id).await?.pids.unwrap_or(0), 0);
    assert_eq!(code(stage.engine().connect(guest.id).await), "wrong-state");
    Ok(())
}

async fn memory_comes_back(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo kept > /dev/shm/kept; echo kept > /run/kept").await?;
    hibernate(stage, &guest).await?;
    guest.resume().await?;
    assert_eq!(guest.sh("cat /dev/shm/kept /run/kept").await?, "kept\nkept");
    Ok(())
}

async fn a_process_goes_on_after_hibernation(stage: &Stage) -> Outcome {
    let (guest, pid) = counting(stage).await?;
    let before = count(&guest).await?;
    hibernate(stage, &guest).await?;
    guest.resume().await?;
    assert!(guest.lives(&pid).await?);
    assert!(count(&guest).await? >= before);
    reaches(&guest, before + 5).await
}

async fn starting_a_hibernated_box_brings_it_back(stage: &Stage) -> Outcome {
    let (guest, pid) = counting(stage).await?;
    hibernate(stage, &guest).await?;
    guest.start().await?;
    assert!(guest.lives(&pid).await?);
    Ok(())
}

async fn a_box_hibernates_again_and_again(stage: &Stage) -> Outcome {
    let (guest, pid) = counting(stage).await?;
    for _ in 0..3 {
        let before = count(&guest).await?;
        hibernate(stage, &guest).await?;
        guest.resume().await?;
        reaches(&guest, before + 1).await?;
    }
    assert!(guest.lives(&pid).await?);
    Ok(())
}

async fn files_written_before_are_there(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo kept > kept; exec 9> open; echo begun >&9").await?;
    hibernate(stage, &guest).await?;
    guest.resume().await?;
    assert_eq!(guest.sh("cat kept open").await?, "kept\nbegun");
    Ok(())
}

async fn a_stopped_box_does_not_hibernate(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    assert_eq!(code(hibernate(stage, &guest).await), "wrong-state");
    Ok(())
}

async fn nothing_does_not_hibernate(stage: &Stage) -> Outcome {
    let id = boxherd_model::BoxId::new();
    assert_eq!(code(stage.engine().hibernate(id).await), "no-such-box");
    Ok(())
}

async fn stopping_a_hibernated_box_gives_its_memory_up(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo kept > kept; echo lost > /dev/shm/lost").await?;
    hibernate(stage, &guest).await?;
    guest.stop().await?;
    assert!(matches!(guest.state().await?, Some(Stopped(_))));
    guest.start().await?;
    assert_eq!(guest.sh("cat kept; ls /dev/shm").await?, "kept");
    Ok(())
}

async fn a_hibernated_box_can_be_deleted(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    hibernate(stage, &guest).await?;
    stage.engine().delete(guest.id).await?;
    assert_eq!(guest.state().await?, None);
    Ok(())
}

async fn a_hibernated_box_is_found_again(stage: &Stage) -> Outcome {
    let (guest, pid) = counting(stage).await?;
    hibernate(stage, &guest).await?;
    let again = stage.reopen().await?;
    again.resume(guest.id).await?;
    assert!(guest.lives(&pid).await?);
    Ok(())
}

async fn a_command_that_runs_meanwhile_ends_with_an_error(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell("echo begun; sleep 1000")).await?;
    assert_eq!(line(&mut exec).await?, "begun\n");
    hibernate(stage, &guest).await?;
    assert!(exec.next().await.is_err());
    Ok(())
}

async fn a_box_renamed_while_it_hibernates_knows_it(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    hibernate(stage, &guest).await?;
    let name = stage.spec().name;
    stage.engine().rename(guest.id, &name).await?;
    guest.resume().await?;
    assert_eq!(guest.sh("hostname").await?, name.as_str());
    Ok(())
}

async fn a_live_copy_goes_on_where_its_source_was(stage: &Stage) -> Outcome {
    let (source, pid) = counting(stage).await?;
    source.sh("echo content > file").await?;
    let before = count(&source).await?;
    let copy = started_copy(stage, &source).await?;
    assert!(copy.lives(&pid).await?);
    assert!(count(&copy).await? >= before);
    reaches(&copy, before + 5).await?;
    assert_eq!(copy.sh("cat file").await?, "content");
    Ok(())
}

async fn the_source_of_a_live_copy_goes_on(stage: &Stage) -> Outcome {
    let (source, pid) = counting(stage).await?;
    let before = count(&source).await?;
    copies(stage, &source, 1).await?;
    assert_eq!(source.state().await?, Some(Running));
    assert!(source.lives(&pid).await?);
    reaches(&source, before + 5).await
}

async fn a_live_copy_is_another_machine(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    let copy = started_copy(stage, &source).await?;
    assert_eq!(copy.sh("hostname").await?, copy.spec.name.as_str());
    assert_eq!(source.sh("hostname").await?, source.spec.name.as_str());
    let machine = "cat /etc/machine-id";
    assert_ne!(copy.sh(machine).await?, source.sh(machine).await?);
    let random = "head -c 16 /dev/urandom | od -An -tx1";
    assert_ne!(copy.sh(random).await?, source.sh(random).await?);
    Ok(())
}

async fn many_live_copies_at_once(stage: &Stage) -> Outcome {
    let (source, pid) = counting(stage).await?;
    for copy in copies(stage, &source, 3).await? {
        copy.start().await?;
        assert!(copy.lives(&pid).await?);
        assert_eq!(copy.sh("hostname").await?, copy.spec.name.as_str());
    }
    Ok(())
}

async fn live_copies_go_their_own_way(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    let copy = started_copy(stage, &source).await?;
    copy.sh("echo copy > /dev/shm/own; echo copy > own").await?;
    source.sh("echo source > /dev/shm/own; echo source > own").await?;
    assert_eq!(copy.sh("cat /dev/shm/own own").await?, "copy\ncopy");
    assert_eq!(source.sh("cat /dev/shm/own own").await?, "source\nsource");
    Ok(())
}

async fn a_live_copy_of_a_live_copy(stage: &Stage) -> Outcome {
    let (source, pid) = counting(stage).await?;
    let copy = started_copy(stage, &source).await?;
    let grandchild = started_copy(stage, &copy).await?;
    assert!(grandchild.lives(&pid).await?);
    assert_eq!(grandchild.sh("hostname").await?, grandchild.spec.name.as_str());
    Ok(())
}

async fn a_stopped_box_has_no_live_copies(stage: &Stage) -> Outcome {
    let source = stage.stopped().await?;
    let child = Child { id: stage.id(), spec: stage.spec() };
    assert_eq!(code(stage.engine().fork_live(source.id, &[child]).await), "wrong-state");
    Ok(())
}

async fn a_command_of_the_source_goes_on_for_the_next_link(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    let link = source.link().await?;
    let mut request =
        ExecRequest::shell("echo begun; until test -e /run/go; do sleep 0.01; done; echo over");
    request.detach_ttl = std::time::Duration::from_secs(60);
    let mut exec = link.exec(request).await?;
    assert_eq!(line(&mut exec).await?, "begun\n");
    copies(stage, &source, 1).await?;
    assert!(exec.next().await.is_err());
    source.sh("touch /run/go").await?;
    let again = Link::open(stage.engine().connect(source.id).await?).await?;
    let mut exec = again.reattach(exec.id(), exec.offsets()).await?;
    assert_eq!(line(&mut exec).await?, "over\n");
    Ok(())
}
