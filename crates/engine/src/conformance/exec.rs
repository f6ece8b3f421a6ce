//! Commands over time: signals, timeouts, cancel, children, and many at once.

use std::time::Duration;

use boxherd_link::{ExecEvent, ExecRequest, ExitStatus};
use futures_util::future::try_join_all;

use super::stage::{line, to_end};
use super::{Outcome, Stage, theme};

theme! { "exec":
    a_signal_reaches_the_command,
    a_signal_reaches_the_whole_group,
    a_signal_to_an_ended_command_is_harmless,
    a_timeout_kills_the_whole_group,
    a_timeout_kills_what_ignores_signals,
    a_timeout_keeps_the_output_so_far,
    a_command_in_time_is_left_alone,
    a_cancel_kills_the_whole_group,
    dropping_an_exec_kills_the_whole_group,
    dropping_the_link_kills_its_commands,
    a_detached_command_lives_on,
    closing_input_is_not_a_kill,
    output_comes_before_the_exit,
    the_exit_does_not_wait_for_background_children,
    a_background_child_lives_on,
    many_commands_run_at_once_over_one_link,
    commands_one_after_the_other_leave_nothing,
    stats_count_commands,
    an_exec_id_is_never_used_twice,
}

/// Two generations that write down their process ids, say that they are ready, and wait.
pub(super) const FAMILY: &str =
    "echo $$ > parent; sh -c 'echo $$ > child; echo ready; exec sleep 1000' & wait";

async fn a_signal_reaches_the_command(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let line_of = "exec 2>/dev/null; trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.01; done";
    let mut exec = link.exec(guest.shell(line_of)).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    exec.control().signal(libc::SIGUSR1);
    let (output, status) = to_end(&mut exec).await?;
    assert_eq!((output.as_str(), status), ("caught\n", ExitStatus::Code(9)));
    Ok(())
}

async fn a_signal_reaches_the_whole_group(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell(FAMILY)).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    exec.control().signal(libc::SIGTERM);
    assert_eq!(to_end(&mut exec).await?.1, ExitStatus::Signal(libc::SIGTERM));
    guest.family_ends().await
}

async fn a_signal_to_an_ended_command_is_harmless(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell("true")).await?;
    let control = exec.control();
    assert_eq!(to_end(&mut exec).await?.1, ExitStatus::Code(0));
    control.signal(libc::SIGKILL);
    assert_eq!(exec.next().await?, ExecEvent::Exit(ExitStatus::Code(0)));
    link.stats().await?;
    Ok(())
}

async fn a_timeout_kills_the_whole_group(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let mut request = guest.shell(FAMILY);
    request.timeout = Some(Duration::from_millis(500));
    let done = guest.collect(request, b"").await?;
    assert_eq!(done.status, ExitStatus::TimedOut);
    guest.family_ends().await
}

async fn a_timeout_kills_what_ignores_signals(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let mut request = guest.shell("trap '' TERM INT HUP; while :; do sleep 0.01; done");
    request.timeout = Some(Duration::from_millis(100));
    assert_eq!(guest.collect(request, b"").await?.status, ExitStatus::TimedOut);
    Ok(())
}

async fn a_timeout_keeps_the_output_so_far(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let mut request = guest.shell("echo so far; exec sleep 1000");
    request.timeout = Some(Duration::from_millis(500));
    let done = guest.collect(request, b"").await?;
    assert_eq!((done.status, &done.stdout[..]), (ExitStatus::TimedOut, &b"so far\n"[..]));
    Ok(())
}

async fn a_command_in_time_is_left_alone(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let mut request = guest.shell("echo quick; exit 5");
    request.timeout = Some(Duration::from_secs(100));
    assert_eq!(guest.collect(request, b"").await?.status, ExitStatus::Code(5));
    Ok(())
}

async fn a_cancel_kills_the_whole_group(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell(FAMILY)).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    exec.control().cancel();
    guest.family_ends().await
}

async fn dropping_an_exec_kills_the_whole_group(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell(FAMILY)).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    drop(exec);
    guest.family_ends().await
}

async fn dropping_the_link_kills_its_commands(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell(FAMILY)).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    drop(link);
    drop(exec);
    guest.family_ends().await
}

async fn a_detached_command_lives_on(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell("echo $$; exec sleep 1000")).await?;
    let pid = line(&mut exec).await?;
    exec.detach();
    link.close().await;
    assert!(guest.lives(pid.trim()).await?);
    Ok(())
}

async fn closing_input_is_not_a_kill(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let mut request = guest.shell("cat; sleep 0.1; echo after");
    request.stdin = true;
    let done = guest.collect(request, b"before ").await?;
    assert_eq!((done.status, &done.stdout[..]), (ExitStatus::Code(0), &b"before after\n"[..]));
    Ok(())
}

async fn output_comes_before_the_exit(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    for _ in 0..50 {
        let mut exec = link.exec(guest.shell("printf out; printf err >&2")).await?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match exec.next().await? {
                ExecEvent::Stdout(bytes) => out.extend_from_slice(&bytes),
                ExecEvent::Stderr(bytes) => err.extend_from_slice(&bytes),
                ExecEvent::Exit(status) => break assert!(status.success()),
            }
        }
        assert_eq!((&out[..], &err[..]), (&b"out"[..], &b"err"[..]));
    }
    Ok(())
}

async fn the_exit_does_not_wait_for_background_children(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    // The child keeps the outputs open; waiting for their end would take 1000 s.
    let done = guest.collect(guest.shell("sleep 1000 & echo started"), b"").await?;
    assert_eq!((done.status, &done.stdout[..]), (ExitStatus::Code(0), &b"started\n"[..]));
    Ok(())
}

async fn a_background_child_lives_on(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let pid = guest.spawn("exec sleep 1000").await?;
    assert!(guest.lives(&pid).await?);
    guest.sh(&format!("kill {pid}")).await?;
    guest.ends(&pid).await
}

async fn many_commands_run_at_once_over_one_link(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let one = |number: usize| {
        let (link, mut request) = (link.clone(), guest.shell("cat; exit $CODE"));
        request.stdin = true;
        request.env.push(("CODE".to_owned(), number.to_string()));
        async move {
            let exec = link.exec(request).await?;
            exec.collect(format!("I am {number}").into(), 1000).await
        }
    };
    let all = try_join_all((0..100).map(one)).await?;
    for (number, done) in all.into_iter().enumerate() {
        assert_eq!(done.status, ExitStatus::Code(i32::try_from(number)?));
        assert_eq!(done.stdout, format!("I am {number}"));
    }
    Ok(())
}

async fn commands_one_after_the_other_leave_nothing(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    for _ in 0..200 {
        let exec = link.exec(ExecRequest::argv(["true"])).await?;
        assert!(exec.collect(bytes::Bytes::new(), 0).await?.status.success());
    }
    assert_eq!(link.stats().await?.execs, 0);
    Ok(())
}

async fn stats_count_commands(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut exec = link.exec(guest.shell("echo ready; exec sleep 1000")).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    assert_eq!(link.stats().await?.execs, 1);
    Ok(())
}

async fn an_exec_id_is_never_used_twice(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let link = guest.link().await?;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut exec = link.exec(ExecRequest::argv(["true"])).await?;
        assert!(ids.insert(exec.id()));
        to_end(&mut exec).await?;
    }
    Ok(())
}
