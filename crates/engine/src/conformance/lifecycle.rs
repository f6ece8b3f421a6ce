//! Create, start, stop, delete, and what `inspect` and `list` say, from every state.

use std::time::Duration;

use boxherd_model::{BoxId, RestartPolicy, StopReason};

use super::stage::{GRACE, code};
use super::{Outcome, Stage, theme};
use crate::TruthState::{Running, Stopped};

theme! { "lifecycle":
    a_box_that_was_made_is_stopped,
    a_box_starts_and_answers,
    a_box_is_made_and_started_at_once,
    a_launch_that_cannot_be_leaves_what_delete_removes,
    a_box_that_runs_is_started_again_without_effect,
    a_stopped_box_starts_again_with_its_disk,
    stopping_ends_every_process,
    stopping_a_stopped_box_succeeds,
    stopping_a_box_that_never_ran_succeeds,
    stopping_asks_before_it_kills,
    stopping_kills_what_does_not_listen,
    deleting_a_box_that_never_ran,
    deleting_a_running_box,
    deleting_a_stopped_box,
    deleting_twice_succeeds,
    deleting_nothing_succeeds,
    deleting_what_a_cancelled_create_left,
    deleting_what_a_cancelled_start_left,
    a_deleted_box_is_not_known_any_more,
    a_box_that_does_not_exist_is_named_in_the_error,
    a_stopped_box_accepts_no_link,
    a_link_ends_with_its_box,
    list_and_inspect_agree,
    an_image_that_does_not_exist_is_refused,
    the_main_program_runs_with_the_environment_of_the_spec,
    the_end_of_the_main_program_stops_the_box,
    the_main_program_is_restarted_when_it_fails,
    the_main_program_is_not_restarted_when_it_succeeds,
    the_main_program_is_always_restarted,
    the_console_shows_the_main_program,
    the_console_goes_on_where_it_was,
    the_console_outlives_its_processes,
    usage_can_be_asked_for,
    a_renamed_box_keeps_running_and_is_listed_by_its_new_name,
    a_box_knows_its_host_name,
    a_box_sees_only_its_own_processes,
}

async fn a_box_that_was_made_is_stopped(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    assert!(matches!(guest.state().await?, Some(Stopped(_))));
    Ok(())
}

async fn a_box_starts_and_answers(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    guest.start().await?;
    assert_eq!(guest.state().await?, Some(Running));
    guest.make_folder().await?;
    assert_eq!(guest.sh("echo hello").await?, "hello");
    Ok(())
}

async fn a_box_that_runs_is_started_again_without_effect(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let pid = guest.spawn("exec sleep 1000").await?;
    guest.start().await?;
    assert!(guest.lives(&pid).await?);
    Ok(())
}

async fn a_stopped_box_starts_again_with_its_disk(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("echo kept > file").await?;
    guest.stop().await?;
    assert_eq!(guest.state().await?, Some(Stopped(StopReason::Requested)));
    guest.start().await?;
    assert_eq!(guest.sh("cat file").await?, "kept");
    Ok(())
}

async fn stopping_ends_every_process(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let pid = guest.spawn("echo 0 > beat; while :; do echo x >> beat; sleep 0.01; done").await?;
    guest.stop().await?;
    guest.start().await?;
    assert!(!guest.lives(&pid).await?);
    let before = guest.sh("cat beat").await?;
    guest.sh("sleep 0.1").await?;
    assert_eq!(guest.sh("cat beat").await?, before);
    Ok(())
}

async fn stopping_a_stopped_box_succeeds(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.stop().await?;
    guest.stop().await?;
    Ok(())
}

async fn stopping_a_box_that_never_ran_succeeds(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    guest.stop().await?;
    assert!(matches!(guest.state().await?, Some(Stopped(_))));
    Ok(())
}

async fn stopping_asks_before_it_kills(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let line = "trap 'echo bye > farewell; exit' TERM; touch listens; while :; do sleep 0.01; done";
    guest.spawn(line).await?;
    guest.sh("until test -e listens; do sleep 0.01; done").await?;
    guest.stop().await?;
    guest.start().await?;
    assert_eq!(guest.sh("cat farewell").await?, "bye");
    Ok(())
}

async fn stopping_kills_what_does_not_listen(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.spawn("trap '' TERM INT HUP; while :; do sleep 0.01; done").await?;
    stage.engine().stop(guest.id, Duration::from_millis(50)).await?;
    assert_eq!(guest.state().await?, Some(Stopped(StopReason::Requested)));
    Ok(())
}

async fn deleting_a_box_that_never_ran(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    stage.engine().delete(guest.id).await?;
    assert_eq!(guest.state().await?, None);
    Ok(())
}

async fn deleting_a_running_box(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.spawn("exec sleep 1000").await?;
    stage.engine().delete(guest.id).await?;
    assert_eq!(guest.state().await?, None);
    Ok(())
}

async fn deleting_a_stopped_box(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.stop().await?;
    stage.engine().delete(guest.id).await?;
    assert_eq!(guest.state().await?, None);
    Ok(())
}

async fn deleting_twice_succeeds(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    stage.engine().delete(guest.id).await?;
    stage.engine().delete(guest.id).await?;
    Ok(())
}

async fn deleting_nothing_succeeds(stage: &Stage) -> Outcome {
    Ok(stage.engine().delete(BoxId::new()).await?)
}

async fn a_box_is_made_and_started_at_once(stage: &Stage) -> Outcome {
    let (id, spec) = (stage.id(), stage.spec());
    let (made, running) = stage.engine().launch(id, &spec).await?;
    let guest = stage.guest(id, spec, made);
    assert_eq!(guest.state().await?, Some(Running));
    guest.make_folder().await?;
    assert_eq!(guest.sh("echo hello").await?, "hello");
    // What a start says of a box that runs is the same.
    assert_eq!(guest.start().await?.addresses, running.addresses);
    stage.engine().delete(id).await?;
    stage.engine().settle().await?;
    assert_eq!(guest.state().await?, None);
    Ok(())
}

async fn a_launch_that_cannot_be_leaves_what_delete_removes(stage: &Stage) -> Outcome {
    let (id, mut spec) = (stage.id(), stage.spec());
    spec.image = "local/nobody-has-this".parse()?;
    assert!(stage.engine().launch(id, &spec).await.is_err());
    stage.engine().delete(id).await?;
    assert_eq!(stage.engine().inspect(id).await?, None);
    Ok(())
}

async fn deleting_what_a_cancelled_create_left(stage: &Stage) -> Outcome {
    let (id, spec) = (stage.id(), stage.spec());
    // Polled once and dropped: whatever was begun by then is left as it is.
    let polled = futures_util::FutureExt::now_or_never(stage.engine().create(id, &spec));
    drop(polled);
    stage.engine().delete(id).await?;
    assert_eq!(stage.engine().inspect(id).await?, None);
    Ok(())
}

async fn deleting_what_a_cancelled_start_left(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    let polled = futures_util::FutureExt::now_or_never(stage.engine().start(guest.id));
    drop(polled);
    stage.engine().delete(guest.id).await?;
    assert_eq!(guest.state().await?, None);
    Ok(())
}

async fn a_deleted_box_is_not_known_any_more(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    stage.engine().delete(guest.id).await?;
    assert_eq!(code(guest.start().await), "no-such-box");
    assert!(!stage.engine().list().await?.iter().any(|truth| truth.id == guest.id));
    Ok(())
}

async fn a_box_that_does_not_exist_is_named_in_the_error(stage: &Stage) -> Outcome {
    let (engine, id) = (stage.engine(), BoxId::new());
    assert_eq!(code(engine.start(id).await), "no-such-box");
    assert_eq!(code(engine.stop(id, GRACE).await), "no-such-box");
    assert_eq!(code(engine.connect(id).await), "no-such-box");
    assert_eq!(code(engine.console(id, 0).await), "no-such-box");
    assert_eq!(code(engine.usage(id).await), "no-such-box");
    assert_eq!(code(engine.rename(id, &stage.spec().name).await), "no-such-box");
    assert_eq!(engine.inspect(id).await?, None);
    Ok(())
}

async fn a_stopped_box_accepts_no_link(stage: &Stage) -> Outcome {
    let guest = stage.stopped().await?;
    assert_eq!(code(stage.engine().connect(guest.id).await), "wrong-state");
    guest.start().await?;
    guest.stop().await?;
    assert_eq!(code(stage.engine().connect(guest.id).await), "wrong-state");
    Ok(())
}

async fn a_link_ends_with_its_box(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    guest.stop().await?;
    link.closed().await;
    Ok(())
}

async fn list_and_inspect_agree(stage: &Stage) -> Outcome {
    let (stopped, running) = (stage.stopped().await?, stage.running().await?);
    let listed = stage.engine().list().await?;
    for guest in [&stopped, &running] {
        let inspected = stage.engine().inspect(guest.id).await?.ok_or("it is not there")?;
        assert_eq!(inspected.name, guest.spec.name);
        let same: Vec<_> = listed.iter().filter(|truth| truth.id == guest.id).collect();
        assert_eq!(same, [&inspected]);
    }
    Ok(())
}

async fn an_image_that_does_not_exist_is_refused(stage: &Stage) -> Outcome {
    let (id, mut spec) = (stage.id(), stage.spec());
    spec.image = "no-such-image".parse()?;
    let refused = code(stage.engine().create(id, &spec).await);
    assert!(["image", "unsupported"].contains(&refused), "{refused}");
    Ok(())
}

async fn the_main_program_runs_with_the_environment_of_the_spec(stage: &Stage) -> Outcome {
    let guest = stage
        .stopped_with(|spec| {
            spec.cmd = main_program("echo \"[$GREETING|$(basename $(pwd))]\"; exec sleep 1000");
            spec.env.insert("GREETING".to_owned(), "good day".to_owned());
            spec.workdir = Some("/etc".to_owned());
        })
        .await?;
    guest.start().await?;
    guest.console_shows("[good day|etc]").await
}

async fn the_end_of_the_main_program_stops_the_box(stage: &Stage) -> Outcome {
    let guest = stage.stopped_with(|spec| spec.cmd = main_program("exit 7")).await?;
    guest.start().await?;
    assert_eq!(guest.stops().await?, StopReason::Exited { code: 7 });
    guest.start().await?;
    assert_eq!(guest.stops().await?, StopReason::Exited { code: 7 });
    Ok(())
}

async fn the_main_program_is_restarted_when_it_fails(stage: &Stage) -> Outcome {
    let guest = stage
        .stopped_with(|spec| {
            spec.cmd = main_program("echo once more; exit 3");
            spec.restart = RestartPolicy::OnFailure { max_retries: 1 };
        })
        .await?;
    guest.start().await?;
    assert_eq!(guest.stops().await?, StopReason::Exited { code: 3 });
    assert_eq!(guest.console().await?.matches("once more").count(), 2);
    Ok(())
}

async fn the_main_program_is_not_restarted_when_it_succeeds(stage: &Stage) -> Outcome {
    let guest = stage
        .stopped_with(|spec| {
            spec.cmd = main_program("echo done");
            spec.restart = RestartPolicy::OnFailure { max_retries: 9 };
        })
        .await?;
    guest.start().await?;
    assert_eq!(guest.stops().await?, StopReason::Exited { code: 0 });
    assert_eq!(guest.console().await?.matches("done").count(), 1);
    Ok(())
}

async fn the_main_program_is_always_restarted(stage: &Stage) -> Outcome {
    let guest = stage
        .stopped_with(|spec| {
            // Only the second run finds what the first one left.
            spec.cmd = main_program("test -e ran && echo restarted; : > ran");
            spec.workdir = Some("/tmp".to_owned());
            spec.restart = RestartPolicy::Always;
        })
        .await?;
    guest.start().await?;
    guest.console_shows("restarted").await?;
    assert_eq!(guest.state().await?, Some(Running));
    Ok(())
}

async fn the_console_shows_the_main_program(stage: &Stage) -> Outcome {
    let line = "echo to output; echo to errors >&2; exec sleep 1000";
    let guest = stage.stopped_with(|spec| spec.cmd = main_program(line)).await?;
    guest.start().await?;
    guest.console_shows("to output").await?;
    guest.console_shows("to errors").await
}

async fn the_console_goes_on_where_it_was(stage: &Stage) -> Outcome {
    let line = "echo first; exec sleep 1000";
    let guest = stage.stopped_with(|spec| spec.cmd = main_program(line)).await?;
    guest.start().await?;
    guest.console_shows("first").await?;
    let chunk = stage.engine().console(guest.id, 0).await?;
    let rest = stage.engine().console(guest.id, chunk.next()).await?;
    assert_eq!((rest.start, rest.data.len()), (chunk.next(), 0));
    let tail = stage.engine().console(guest.id, chunk.start + 1).await?;
    assert_eq!(tail.data, chunk.data.slice(1..));
    Ok(())
}

async fn the_console_outlives_its_processes(stage: &Stage) -> Outcome {
    let guest = stage.stopped_with(|spec| spec.cmd = main_program("echo last words")).await?;
    guest.start().await?;
    guest.stops().await?;
    guest.console_shows("last words").await
}

async fn usage_can_be_asked_for(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    guest.sh("head -c 1000000 /dev/zero > ballast").await?;
    let used = stage.engine().usage(guest.id).await?;
    assert!(used.disk.is_none_or(|disk| disk >= 1_000_000), "{used:?}");
    assert!(used.pids.is_none_or(|pids| pids >= 1), "{used:?}");
    assert!(used.memory.is_none_or(|memory| memory > 0), "{used:?}");
    guest.stop().await?;
    stage.engine().usage(guest.id).await?;
    Ok(())
}

async fn a_renamed_box_keeps_running_and_is_listed_by_its_new_name(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (pid, name) = (guest.spawn("exec sleep 1000").await?, stage.spec().name);
    stage.engine().rename(guest.id, &name).await?;
    assert!(guest.lives(&pid).await?);
    let truth = stage.engine().inspect(guest.id).await?.ok_or("it is not there")?;
    assert_eq!(truth.name, name);
    Ok(())
}

async fn a_box_knows_its_host_name(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    assert_eq!(guest.sh("hostname").await?, guest.spec.name.to_string());
    assert_eq!(guest.sh("getent hosts $(hostname) | wc -l").await?, "1");
    Ok(())
}

async fn a_box_sees_only_its_own_processes(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    // The agent and the shell.
    assert_eq!(guest.sh("cd /proc; set -- [0-9]*; echo $#").await?, "2");
    Ok(())
}

/// A shell line as the main program of a box.
pub(super) fn main_program(line: &str) -> Vec<String> {
    ["sh", "-c", line].map(str::to_owned).to_vec()
}
