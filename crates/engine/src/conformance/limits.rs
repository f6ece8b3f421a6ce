//! Limits that hold.

use std::time::{Duration, Instant};

use boxherd_model::{ByteSize, RestartPolicy, StopReason};

use super::lifecycle::main_program;
use super::stage::{Any, Guest, line};
use super::{Outcome, Stage, theme};
use crate::TruthState::Running;

theme! { "limits":
    memory_beyond_the_limit_ends_the_box_and_says_why,
    memory_below_the_limit_is_fine,
    neighbours_do_not_notice_a_box_that_runs_out,
    a_box_that_ran_out_starts_again,
    memory_of_files_counts,
    memory_of_many_processes_counts,
    memory_that_ran_out_is_no_reason_to_restart,
    processes_beyond_the_limit_are_refused,
    a_fork_bomb_ends_with_its_box,
    processor_time_is_limited,
    a_full_disk_is_an_error_in_the_box_only,
    a_full_disk_is_none_of_a_neighbours,
    a_full_disk_of_small_files,
    a_full_disk_can_be_emptied_again,
    a_full_disk_can_be_emptied_after_a_restart,
    a_full_disk_refuses_an_upload,
}

/// Fills some 300 MB of memory: `tail` keeps everything until the end.
const FILL: &str = "head -c 300000000 /dev/zero | tail -c 300000000 > /dev/null";

/// Runs `line`, which is to use up the memory of the box, and says why the box has ended. It may end
/// before it has answered, or after.
async fn ended_by(guest: &Guest, line: &str) -> Result<StopReason, Any> {
    let link = guest.link().await?;
    // Kept: a command whose client goes is ended.
    let begun = link.exec(guest.shell(line)).await;
    let reason = guest.stops().await?;
    drop(begun);
    Ok(reason)
}

async fn memory_beyond_the_limit_ends_the_box_and_says_why(stage: &Stage) -> Outcome {
    let limit = Some(ByteSize::from_mib(64));
    let guest = stage.running_with(|spec| spec.limits.memory = limit).await?;
    assert_eq!(ended_by(&guest, FILL).await?, StopReason::Oom);
    Ok(())
}

async fn memory_below_the_limit_is_fine(stage: &Stage) -> Outcome {
    let limit = Some(ByteSize::from_mib(128));
    let guest = stage.running_with(|spec| spec.limits.memory = limit).await?;
    guest.sh("head -c 50000000 /dev/zero | tail -c 50000000 > /dev/null").await?;
    // Cached files count, and give way.
    guest.sh("head -c 300000000 /dev/zero > file; cat file > /dev/null; rm file").await?;
    assert_eq!(guest.state().await?, Some(Running));
    Ok(())
}

async fn neighbours_do_not_notice_a_box_that_runs_out(stage: &Stage) -> Outcome {
    let limit = Some(ByteSize::from_mib(64));
    let (guest, neighbour) =
        (stage.running_with(|spec| spec.limits.memory = limit).await?, stage.running().await?);
    let link = neighbour.link().await?;
    let mut exec = link
        .exec(neighbour.shell("echo ready; until test -e go; do sleep 0.01; done; echo fine"))
        .await?;
    assert_eq!(line(&mut exec).await?, "ready\n");
    assert_eq!(ended_by(&guest, FILL).await?, StopReason::Oom);
    neighbour.sh("touch go").await?;
    assert_eq!(line(&mut exec).await?, "fine\n");
    Ok(())
}

async fn a_box_that_ran_out_starts_again(stage: &Stage) -> Outcome {
    let limit = Some(ByteSize::from_mib(64));
    let guest = stage.running_with(|spec| spec.limits.memory = limit).await?;
    guest.sh("echo kept > file").await?;
    assert_eq!(ended_by(&guest, FILL).await?, StopReason::Oom);
    guest.start().await?;
    assert_eq!(guest.sh("cat file").await?, "kept");
    Ok(())
}

async fn memory_of_files_counts(stage: &Stage) -> Outcome {
    let limit = Some(ByteSize::from_mib(64));
    let guest = stage.running_with(|spec| spec.limits.memory = limit).await?;
    // What no process holds is there still when the kernel has killed one.
    guest.sh("head -c 30000000 /dev/zero > /dev/shm/file").await?;
    guest.sh("head -c 20000000 /dev/zero > /run/file").await?;
    assert_eq!(ended_by(&guest, FILL).await?, StopReason::Oom);
    Ok(())
}

async fn memory_of_many_processes_counts(stage: &Stage) -> Outcome {
    let limit = Some(ByteSize::from_mib(64));
    let guest = stage.running_with(|spec| spec.limits.memory = limit).await?;
    let each = "head -c 20000000 /dev/zero | tail -c 20000000 > /dev/null; sleep 1000";
    let many = format!("for i in $(seq 20); do ({each}) & done; wait");
    assert_eq!(ended_by(&guest, &many).await?, StopReason::Oom);
    Ok(())
}

/// A policy is about the main program; the box that would run it is gone.
async fn memory_that_ran_out_is_no_reason_to_restart(stage: &Stage) -> Outcome {
    for restart in [RestartPolicy::OnFailure { max_retries: 1000 }, RestartPolicy::Always] {
        let guest = stage
            .stopped_with(|spec| {
                spec.limits.memory = Some(ByteSize::from_mib(64));
                spec.cmd = main_program(FILL);
                spec.restart = restart;
            })
            .await?;
        guest.start().await?;
        assert_eq!(guest.stops().await?, StopReason::Oom);
    }
    Ok(())
}

async fn processes_beyond_the_limit_are_refused(stage: &Stage) -> Outcome {
    let guest = stage.running_with(|spec| spec.limits.pids = Some(40)).await?;
    let many = "for i in $(seq 100); do sleep 1000 & done 2>/dev/null; echo never";
    let done = guest.collect(guest.shell(many), b"").await?;
    assert!(!done.status.success(), "{done:?}");
    let pids = stage.engine().usage(guest.id).await?.pids.ok_or("it is limited and not counted")?;
    assert!(pids <= 40, "{pids}");
    Ok(())
}

async fn a_fork_bomb_ends_with_its_box(stage: &Stage) -> Outcome {
    let (bomb, neighbour) =
        (stage.running_with(|spec| spec.limits.pids = Some(100)).await?, stage.running().await?);
    // A box with a kernel of its own may be over before it has answered.
    let begun = bomb.spawn("bomb() { bomb | bomb & }; bomb; sleep 1000").await;
    assert_eq!(neighbour.sh("echo fine").await?, "fine");
    drop(begun);
    stage.engine().stop(bomb.id, Duration::from_millis(100)).await?;
    stage.engine().delete(bomb.id).await?;
    Ok(())
}

async fn processor_time_is_limited(stage: &Stage) -> Outcome {
    let quarter = Some("0.25".parse()?);
    let guest = stage.running_with(|spec| spec.limits.cpus = quarter).await?;
    let used = async || {
        let usage = stage.engine().usage(guest.id).await?;
        Ok::<_, super::stage::Any>(usage.cpu_micros.ok_or("it is limited and not measured")?)
    };
    let (before, since) = (used().await?, Instant::now());
    guest.sh("timeout 1 sh -c 'while :; do :; done'; true").await?;
    let (took, elapsed) = (used().await? - before, since.elapsed());
    // A busy machine gives less, never more.
    let most = elapsed.mul_f64(0.25) + Duration::from_millis(150);
    assert!(Duration::from_micros(took) <= most, "{took} µs in {elapsed:?}");
    Ok(())
}

/// Writes more than any limit of these cases allows.
pub(super) const FILL_DISK: &str = "head -c 200000000 /dev/urandom > big";

/// Fills the disk of a box that may have `limit` on it, and looks that this was refused.
pub(super) async fn fill_disk(guest: &Guest, limit: ByteSize) -> Outcome {
    let done = guest.collect(guest.shell(FILL_DISK), b"").await?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success(), "{said}");
    assert!(said.contains("quota exceeded") || said.contains("No space left"), "{said}");
    let size: u64 = guest.sh("stat -c %s big").await?.parse()?;
    assert!(size <= limit.bytes(), "{size}");
    Ok(())
}

async fn a_full_disk_is_an_error_in_the_box_only(stage: &Stage) -> Outcome {
    let limit = ByteSize::from_mib(64);
    let guest = stage.running_with(|spec| spec.limits.disk = Some(limit)).await?;
    fill_disk(&guest, limit).await?;
    assert_eq!(guest.state().await?, Some(Running));
    Ok(())
}

async fn a_full_disk_is_none_of_a_neighbours(stage: &Stage) -> Outcome {
    let limit = ByteSize::from_mib(64);
    let limited = async || stage.running_with(|spec| spec.limits.disk = Some(limit)).await;
    let (guest, neighbour, free) = (limited().await?, limited().await?, stage.running().await?);
    fill_disk(&guest, limit).await?;
    for other in [neighbour, free] {
        other.sh("head -c 32000000 /dev/urandom > file; sync -d file").await?;
    }
    Ok(())
}

const FILL_WITH_SMALL_FILES: &str = r#"
    for my $n (1..200_000) {
        open my $file, '>', "many/$n" or die "$n: $!";
        print $file 'x';
        close $file or die "$n: $!";
    }
"#;

/// What is written about files counts as what is in them does.
async fn a_full_disk_of_small_files(stage: &Stage) -> Outcome {
    let limit = Some(ByteSize::from_mib(16));
    let guest = stage.running_with(|spec| spec.limits.disk = limit).await?;
    guest.put("fill", FILL_WITH_SMALL_FILES).await?;
    let done = guest.collect(guest.shell("mkdir many; perl fill"), b"").await?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success(), "they all fit");
    assert!(said.contains("quota exceeded") || said.contains("No space left"), "{said}");
    // What was written is whole, and makes room when it goes.
    assert_eq!(guest.sh("cat many/1").await?, "x");
    guest.sh("rm -r many; sync; head -c 4000000 /dev/urandom > file; sync -d file").await?;
    Ok(())
}

async fn a_full_disk_can_be_emptied_again(stage: &Stage) -> Outcome {
    let limit = Some(ByteSize::from_mib(64));
    let guest = stage.running_with(|spec| spec.limits.disk = limit).await?;
    guest.collect(guest.shell(FILL_DISK), b"").await?;
    guest.sh("rm big; sync; head -c 10000000 /dev/urandom > file").await?;
    Ok(())
}

async fn a_full_disk_can_be_emptied_after_a_restart(stage: &Stage) -> Outcome {
    let limit = ByteSize::from_mib(64);
    let guest = stage.running_with(|spec| spec.limits.disk = Some(limit)).await?;
    fill_disk(&guest, limit).await?;
    // Where one file finds no room, many small ones may.
    guest
        .collect(guest.shell("for n in $(seq 10000); do echo x > $n || exit 1; done"), b"")
        .await?;
    guest.stop().await?;
    guest.start().await?;
    fill_disk(&guest, limit).await?;
    guest.sh("rm *; sync; head -c 32000000 /dev/urandom > file; sync -d file").await?;
    Ok(())
}

async fn a_full_disk_refuses_an_upload(stage: &Stage) -> Outcome {
    let limit = Some(ByteSize::from_mib(64));
    let guest = stage.running_with(|spec| spec.limits.disk = limit).await?;
    let noise: Vec<u8> =
        (0..100_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert!(guest.put("file", noise).await.is_err());
    guest.sh("until test -z \"$(ls -A)\"; do sleep 0.01; done").await?;
    Ok(())
}
