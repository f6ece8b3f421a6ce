//! Boxes that stand still.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boxherd_link::{ExitStatus, Link};

use super::stage::{code, line, to_end};
use super::{Outcome, Stage, theme};
use crate::TruthState::{Running, Stopped, Suspended};

theme! { "suspend":
    a_suspended_box_says_so,
    suspending_twice_succeeds,
    resuming_a_running_box_succeeds,
    a_stopped_box_is_not_suspended,
    a_stopped_box_is_not_resumed,
    nothing_is_not_suspended,
    memory_stays_in_place,
    processes_stand_still,
    a_link_is_silent_and_not_lost,
    a_link_opened_meanwhile_answers_after_the_resume,
    a_command_goes_on_where_it_was,
    the_clock_is_right_after_the_resume,
    a_suspended_box_can_be_stopped,
    a_suspended_box_can_be_deleted,
    a_suspended_box_is_not_lost_when_it_is_started,
    a_suspended_box_can_be_renamed,
    suspend_and_resume_many_times,
    whoever_starts_programs_stands_still_too,
}

/// Long enough for an agent that is not silent to be heard. Waiting longer can only make these
/// cases stricter, so that a slow machine never fails one.
const SILENCE: Duration = Duration::from_millis(300);

async fn a_suspended_box_says_so(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.suspend().await?;
    assert_eq!(guest.state().await?, Some(Suspended));
    guest.resume().await?;
    assert_eq!(guest.state().await?, Some(Running));
    Ok(())
}

async fn suspending_twice_succeeds(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.suspend().await?;
    guest.suspend().await?;
    guest.resume().await?;
    assert_eq!(guest.sh("echo awake").await?, "awake");
    Ok(())
}

async fn resuming_a_running_box_succeeds(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.resume().await?;
    assert_eq!(guest.sh("echo awake").await?, "awake");
    Ok(())
}

async fn a_stopped_box_is_not_suspended(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    assert_eq!(code(guest.suspend().await), "wrong-state");
    Ok(())
}

async fn a_stopped_box_is_not_resumed(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    assert_eq!(code(guest.resume().await), "wrong-state");
    Ok(())
}

async fn nothing_is_not_suspended(stage: &Stage) -> Outcome {
    let id = boxherd_model::BoxId::new();
    assert_eq!(code(stage.engine().suspend(id).await), "no-such-box");
    assert_eq!(code(stage.engine().resume(id).await), "no-such-box");
    Ok(())
}

async fn memory_stays_in_place(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut request = guest.shell("secret=42; echo ready; read word; echo $secret $word");
    request.stdin = true;
    let mut exec = link.exec(request).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    guest.suspend().await?;
    guest.resume().await?;
    exec.stdin().ok_or("it has input")?.send("hello\n".into()).await?;
    assert_eq!(to_end(&mut exec).await?.0, "42 hello\n");
    Ok(())
}

async fn processes_stand_still(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let beat = guest.spawn("while :; do date +%s%N >> beats; done").await?;
    guest.sh("until test -s beats; do sleep 0.01; done").await?;
    guest.suspend().await?;
    tokio::time::sleep(SILENCE).await;
    guest.resume().await?;
    guest.sh(&format!("sleep 0.1; kill {beat}")).await?;
    let longest = guest
        .sh("awk 'p && $1 - p > m { m = $1 - p } { p = $1 } END { printf \"%d\", m / 1000000 }' beats")
        .await?;
    let longest = Duration::from_millis(longest.parse()?);
    assert!(longest >= SILENCE.mul_f64(0.8), "the longest pause was {longest:?}");
    Ok(())
}

async fn a_link_is_silent_and_not_lost(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    guest.suspend().await?;
    let asked = link.stats();
    tokio::pin!(asked);
    let heard = tokio::time::timeout(SILENCE, &mut asked).await;
    assert!(heard.is_err(), "it answered while it was suspended: {heard:?}");
    guest.resume().await?;
    asked.await?;
    Ok(())
}

async fn a_link_opened_meanwhile_answers_after_the_resume(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.suspend().await?;
    let opening = Link::open(stage.engine().connect(guest.id).await?);
    tokio::pin!(opening);
    let heard = tokio::time::timeout(SILENCE, &mut opening).await;
    assert!(heard.is_err(), "it greeted while it was suspended");
    guest.resume().await?;
    opening.await?.stats().await?;
    Ok(())
}

async fn a_command_goes_on_where_it_was(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let line_of = "echo ready; until test -e go; do sleep 0.01; done; seq 100000; exit 8";
    let mut exec = link.exec(guest.shell(line_of)).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    guest.sh("touch go").await?;
    for _ in 0..5 {
        guest.suspend().await?;
        guest.resume().await?;
    }
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    let (output, status) = to_end(&mut exec).await?;
    assert!(output == expected);
    assert_eq!(status, ExitStatus::Code(8));
    Ok(())
}

async fn the_clock_is_right_after_the_resume(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.suspend().await?;
    tokio::time::sleep(SILENCE).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    guest.resume().await?;
    let shown: u128 = guest.sh("date +%s%N").await?.parse()?;
    assert!(shown >= now, "{shown} is before {now}");
    Ok(())
}

async fn a_suspended_box_can_be_stopped(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo kept > file").await?;
    guest.suspend().await?;
    guest.stop().await?;
    assert!(matches!(guest.state().await?, Some(Stopped(_))));
    guest.start().await?;
    assert_eq!(guest.sh("cat file").await?, "kept");
    Ok(())
}

async fn a_suspended_box_can_be_deleted(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.spawn("exec sleep 1000").await?;
    guest.suspend().await?;
    stage.engine().delete(guest.id).await?;
    assert_eq!(guest.state().await?, None);
    Ok(())
}

async fn a_suspended_box_is_not_lost_when_it_is_started(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let pid = guest.spawn("exec sleep 1000").await?;
    guest.suspend().await?;
    // The herd resumes it instead. Whatever `start` says, it must not make a second set of processes.
    let said = code(guest.start().await);
    assert!(["ok", "wrong-state"].contains(&said), "{said}");
    guest.resume().await?;
    assert!(guest.lives(&pid).await?);
    Ok(())
}

async fn a_suspended_box_can_be_renamed(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.suspend().await?;
    let name = stage.spec().name;
    stage.engine().rename(guest.id, &name).await?;
    guest.resume().await?;
    let truth = stage.engine().inspect(guest.id).await?.ok_or("it is not there")?;
    assert_eq!(truth.name, name);
    Ok(())
}

async fn suspend_and_resume_many_times(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    for _ in 0..50 {
        guest.suspend().await?;
        guest.resume().await?;
    }
    assert_eq!(guest.sh("echo awake").await?, "awake");
    Ok(())
}

/// Processes are hard to stop in between what they are and what they become.
async fn whoever_starts_programs_stands_still_too(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let start = "while :; do echo 1 | xargs true; done";
    let starting =
        [guest.spawn(start).await?, guest.spawn(start).await?, guest.spawn(start).await?];
    for _ in 0..8 {
        guest.suspend().await?;
        assert_eq!(guest.state().await?, Some(Suspended));
        guest.resume().await?;
        guest.sh("true").await?;
    }
    for loops in starting {
        guest.sh(&format!("kill {loops}")).await?;
    }
    Ok(())
}
