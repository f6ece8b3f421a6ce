//! Links that are lost, and commands that go on.

use std::time::Duration;

use boxherd_link::{Exec, ExecEvent, ExitStatus, Link, LinkError, Offsets};
use tokio::io::{AsyncWriteExt as _, DuplexStream, copy_bidirectional, duplex};
use tokio::task::JoinHandle;

use super::stage::{Any, Guest, line, to_end};
use super::{Outcome, Stage, theme};

theme! { "reattach":
    two_links_to_one_box,
    a_lost_link_is_an_error_and_not_an_exit,
    a_lost_link_keeps_the_command,
    nothing_is_lost_and_nothing_repeated,
    output_that_was_lost_with_the_link_comes_again,
    the_exit_is_there_for_the_next_link,
    input_goes_on_after_a_lost_link,
    a_lost_link_without_a_time_to_live_kills_the_command,
    the_time_to_live_ends,
    a_reattached_command_can_be_cancelled,
    reattaching_twice_takes_over,
    an_unknown_exec_is_refused,
}

/// A link that can be lost: what it runs over is cut, and neither side says goodbye.
struct Fragile {
    link: Link,
    wire: JoinHandle<()>,
}

impl Fragile {
    async fn open(stage: &Stage, guest: &Guest) -> Result<Self, Any> {
        let mut engine_side = stage.engine().connect(guest.id).await?;
        let (ours, mut theirs): (DuplexStream, DuplexStream) = duplex(64 * 1024);
        let wire = tokio::spawn(async move {
            // Ends with either side; an error is the end of this wire as well.
            drop(copy_bidirectional(&mut theirs, &mut engine_side).await);
        });
        Ok(Self { link: Link::open(ours).await?, wire })
    }

    /// Cuts the wire and waits until this side has noticed.
    async fn cut(self) {
        self.wire.abort();
        self.link.closed().await;
    }
}

/// Starts a command over a fragile link and reads its first line.
async fn begin(stage: &Stage, guest: &Guest, text: &str) -> Result<(Fragile, Exec, String), Any> {
    let fragile = Fragile::open(stage, guest).await?;
    let mut exec = fragile.link.exec(guest.shell(text)).await?;
    let first = line(&mut exec).await?;
    Ok((fragile, exec, first))
}

async fn two_links_to_one_box(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (first, second) = (guest.link().await?, guest.link().await?);
    let mut on_first = first.exec(guest.shell("echo one; exec sleep 1000")).await?;
    assert_eq!(line(&mut on_first).await?, "one\n");
    second.close().await;
    let mut again = first.exec(guest.shell("echo two")).await?;
    assert_eq!(to_end(&mut again).await?.0, "two\n");
    Ok(())
}

async fn a_lost_link_is_an_error_and_not_an_exit(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (fragile, mut exec, _) = begin(stage, &guest, "echo ready; exec sleep 1000").await?;
    fragile.cut().await;
    let lost = exec.next().await;
    assert!(matches!(lost, Err(LinkError::Lost { .. })), "{lost:?}");
    Ok(())
}

async fn a_lost_link_keeps_the_command(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let line_of = "echo $$; until test -e go; do sleep 0.01; done; echo went";
    let (fragile, exec, _) = begin(stage, &guest, line_of).await?;
    let (id, offsets) = (exec.id(), exec.offsets());
    fragile.cut().await;
    drop(exec);
    let link = guest.link().await?;
    let mut exec = link.reattach(id, offsets).await?;
    guest.sh("touch go").await?;
    assert_eq!(to_end(&mut exec).await?, ("went\n".to_owned(), ExitStatus::Code(0)));
    Ok(())
}

async fn nothing_is_lost_and_nothing_repeated(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (mut id, mut offsets, mut output) = (None, Offsets::default(), Vec::new());
    // Cut over and over again, in the middle of 2 MB of output.
    loop {
        let fragile = Fragile::open(stage, &guest).await?;
        let mut exec = match id {
            None => fragile.link.exec(guest.shell("seq 300000")).await?,
            Some(id) => fragile.link.reattach(id, offsets).await?,
        };
        id = Some(exec.id());
        for _ in 0..3 {
            match exec.next().await? {
                ExecEvent::Stdout(bytes) => output.extend_from_slice(&bytes),
                ExecEvent::Stderr(bytes) => panic!("{bytes:?}"),
                ExecEvent::Exit(status) => {
                    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
                    assert!(output == expected.as_bytes());
                    assert_eq!(status, ExitStatus::Code(0));
                    return Ok(());
                }
            }
        }
        offsets = exec.offsets();
        fragile.cut().await;
    }
}

async fn output_that_was_lost_with_the_link_comes_again(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let fragile = Fragile::open(stage, &guest).await?;
    let exec = fragile.link.exec(guest.shell("echo first; echo second; touch written")).await?;
    // It was sent, and nobody here has looked at it.
    guest.sh("until test -e written; do sleep 0.01; done").await?;
    let id = exec.id();
    fragile.cut().await;
    let mut exec = guest.link().await?.reattach(id, Offsets::default()).await?;
    assert_eq!(to_end(&mut exec).await?, ("first\nsecond\n".to_owned(), ExitStatus::Code(0)));
    Ok(())
}

async fn the_exit_is_there_for_the_next_link(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let line_of = "echo $$; until test -e go; do sleep 0.01; done; exit 6";
    let (fragile, exec, pid) = begin(stage, &guest, line_of).await?;
    let (id, offsets) = (exec.id(), exec.offsets());
    fragile.cut().await;
    guest.sh("touch go").await?;
    guest.ends(pid.trim()).await?;
    let mut exec = guest.link().await?.reattach(id, offsets).await?;
    assert_eq!(to_end(&mut exec).await?.1, ExitStatus::Code(6));
    Ok(())
}

async fn input_goes_on_after_a_lost_link(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let fragile = Fragile::open(stage, &guest).await?;
    let mut request = guest.shell("echo ready; cat");
    request.stdin = true;
    let mut exec = fragile.link.exec(request).await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    let mut stdin = exec.stdin().ok_or("it has input")?;
    stdin.write_all(b"before ").await?;
    let (id, offsets) = (exec.id(), exec.offsets());
    fragile.cut().await;
    let sent = stdin.into_unacknowledged();
    let mut exec = guest.link().await?.reattach(id, offsets).await?;
    let missing = sent.after(exec.stdin_offset()).ok_or("the agent claims more than was sent")?;
    let mut stdin = exec.stdin().ok_or("its input is still open")?;
    stdin.send(missing).await?;
    stdin.write_all(b"after").await?;
    stdin.shutdown().await?;
    assert_eq!(to_end(&mut exec).await?, ("before after".to_owned(), ExitStatus::Code(0)));
    Ok(())
}

async fn a_lost_link_without_a_time_to_live_kills_the_command(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let fragile = Fragile::open(stage, &guest).await?;
    let mut request = guest.shell("echo $$; exec sleep 1000");
    request.detach_ttl = Duration::ZERO;
    let mut exec = fragile.link.exec(request).await?;
    let pid = line(&mut exec).await?;
    fragile.cut().await;
    guest.ends(pid.trim()).await
}

async fn the_time_to_live_ends(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let fragile = Fragile::open(stage, &guest).await?;
    let mut request = guest.shell("echo $$; exec sleep 1000");
    request.detach_ttl = Duration::from_millis(200);
    let mut exec = fragile.link.exec(request).await?;
    let (pid, id) = (line(&mut exec).await?, exec.id());
    fragile.cut().await;
    guest.ends(pid.trim()).await?;
    // What is left of it is kept for a while, and says at most that it was killed.
    if let Ok(mut exec) = guest.link().await?.reattach(id, exec.offsets()).await {
        assert_eq!(to_end(&mut exec).await?.1, ExitStatus::Signal(libc::SIGKILL));
    }
    Ok(())
}

async fn a_reattached_command_can_be_cancelled(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (fragile, exec, pid) = begin(stage, &guest, "echo $$; exec sleep 1000").await?;
    let (id, offsets) = (exec.id(), exec.offsets());
    fragile.cut().await;
    let mut exec = guest.link().await?.reattach(id, offsets).await?;
    exec.control().cancel();
    assert_eq!(to_end(&mut exec).await?.1, ExitStatus::Signal(libc::SIGKILL));
    guest.ends(pid.trim()).await
}

async fn reattaching_twice_takes_over(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let line_of = "echo $$; until test -e go; do sleep 0.01; done; echo went";
    let (fragile, exec, _) = begin(stage, &guest, line_of).await?;
    let (id, offsets) = (exec.id(), exec.offsets());
    fragile.cut().await;
    let mut first = guest.link().await?.reattach(id, offsets).await?;
    let mut second = guest.link().await?.reattach(id, offsets).await?;
    guest.sh("touch go").await?;
    assert_eq!(to_end(&mut second).await?.0, "went\n");
    let taken = first.next().await;
    assert!(matches!(taken, Err(LinkError::TakenOver)), "{taken:?}");
    Ok(())
}

async fn an_unknown_exec_is_refused(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let id = boxherd_link::ExecId::from_u64(0x1234);
    let refused = guest.link().await?.reattach(id, Offsets::default()).await;
    assert!(matches!(refused, Err(LinkError::UnknownExec { .. })), "{refused:?}");
    Ok(())
}
