//! Boxes that run out of memory: they end whole, by themselves, and alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use boxherd_engine::{Engine, TruthState};
use boxherd_engine_local::LocalEngine;
use boxherd_link::{Exec, ExecRequest, Link, LinkError};
use boxherd_model::{BoxId, BoxSpec, ByteSize, StopReason};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Outcome;

/// How often each hog runs: what decides between it and the agent must not be luck.
const ROUNDS: usize = 10;
/// How long a box that is out of memory may take to end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What uses more than 64 MiB, and how. `tail` keeps all it reads.
const HOGS: [(&str, &str); 3] = [
    ("one process", "head -c 300000000 /dev/zero | tail -c 300000000"),
    (
        "files in memory, which no process gives back, and a process",
        "head -c 30000000 /dev/zero > /dev/shm/file; head -c 25000000 /dev/zero > /run/file; \
         head -c 300000000 /dev/zero | tail -c 300000000",
    ),
    (
        "many processes",
        "for i in $(seq 40); do (head -c 20000000 /dev/zero | tail -c 20000000; sleep 1000) & done; \
         wait",
    ),
];

/// A box that runs, and a link to it.
struct Guest {
    id: BoxId,
    link: Link,
    /// Its first process.
    pid: Pid,
}

impl Guest {
    async fn start(engine: &LocalEngine, data: &Path, name: &str, mib: u64) -> Outcome<Self> {
        let id = BoxId::new();
        let mut spec = BoxSpec::new(name.parse()?);
        spec.limits.memory = Some(ByteSize::from_mib(mib));
        engine.create(id, &spec).await?;
        engine.start(id).await?;
        let link = Link::open(engine.connect(id).await?).await?;
        let text = fs::read_to_string(data.join(format!("boxes/{id}/runtime.json")))?;
        let pid = text.split_once("\"pid\":").and_then(|(_, rest)| rest.split(',').next());
        let pid = pid.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?)).ok_or("no pid")?;
        Ok(Self { id, link, pid })
    }

    /// Begins something that is not expected to end by itself, beside a process that only sleeps.
    /// The box may be over before it answers; else what is returned keeps the command.
    async fn begin(&self, line: &str) -> Result<Exec, LinkError> {
        self.link.exec(ExecRequest::shell(format!("sleep 1000 & {line}"))).await
    }

    /// Waits until its link closes and its first process, and with it the last one, is gone, while
    /// nobody asks the engine anything.
    async fn ends(&self) -> Outcome {
        let pidfd = pidfd_open(self.pid, PidfdFlags::empty());
        tokio::time::timeout(PATIENCE, self.link.closed()).await?;
        // One that is gone by now has ended as it should.
        let Ok(pidfd) = pidfd else { return Ok(()) };
        let timeout = Timespec::try_from(PATIENCE)?;
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))?;
        if ended == 0 { Err("its link is closed, and it runs".into()) } else { Ok(()) }
    }
}

async fn state(engine: &LocalEngine, guest: &Guest) -> Outcome<Option<TruthState>> {
    Ok(engine.inspect(guest.id).await?.map(|truth| truth.state))
}

/// Runs commands in a neighbour until it is told to stop; says how many.
async fn keep_busy(link: Link, stop: Arc<AtomicBool>) -> Outcome<usize> {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let exec = link.exec(ExecRequest::shell("echo fine")).await?;
        let done = exec.collect(Default::default(), 1024).await?;
        assert_eq!((done.status.shell_code(), &*done.stdout), (0, &b"fine\n"[..]));
        count += 1;
    }
    Ok(count)
}

/// Each hog in a box of its own, many times, next to one neighbour.
pub(crate) async fn hogs_end_with_their_boxes(engine: LocalEngine, data: PathBuf) -> Outcome {
    let neighbour = Guest::start(&engine, &data, "neighbour", 64).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn(keep_busy(neighbour.link.clone(), Arc::clone(&stop)));
    for (kind, line) in HOGS {
        for round in 0..ROUNDS {
            let hog = Guest::start(&engine, &data, "hog", 64).await?;
            // Its own end would say so, which is what is not to happen.
            let begun = hog.begin(line).await;
            hog.ends().await.map_err(|error| format!("{kind}, round {round}: {error}"))?;
            if let Ok(exec) = begun {
                let ended = exec.collect(Default::default(), 1024).await;
                assert!(ended.is_err(), "{kind}, round {round}: {ended:?}");
            }
            let state = state(&engine, &hog).await?;
            assert_eq!(state, Some(TruthState::Stopped(StopReason::Oom)), "{kind}, round {round}");
            engine.delete(hog.id).await?;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let count = busy.await??;
    assert!(count > 0, "the neighbour ran nothing");
    engine.delete(neighbour.id).await?;
    Ok(())
}

/// Whoever sees the link close and asks at once is told that the box has ended, and can start it.
pub(crate) async fn a_closed_link_and_the_engine_agree(
    engine: LocalEngine,
    data: PathBuf,
) -> Outcome {
    for round in 0..ROUNDS {
        for (kind, line) in HOGS {
            let hog = Guest::start(&engine, &data, "hog", 64).await?;
            let begun = hog.begin(line).await;
            tokio::time::timeout(PATIENCE, hog.link.closed()).await?;
            let state = state(&engine, &hog).await?;
            assert_eq!(state, Some(TruthState::Stopped(StopReason::Oom)), "{kind}, round {round}");
            drop(begun);
            engine
                .start(hog.id)
                .await
                .map_err(|error| format!("{kind}, round {round}: {error}"))?;
            engine.delete(hog.id).await?;
        }
    }
    Ok(())
}

/// The group of a box that limits its memory, on cgroup v1.
fn memory_group(pid: Pid) -> Outcome<Option<PathBuf>> {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()))?;
    let path = groups.lines().find_map(|line| line.split_once(":memory:/"));
    Ok(path.map(|(_, path)| Path::new("/sys/fs/cgroup/memory").join(path)))
}

/// The kernel tells every box when a group around them has no memory, and kills in one.
pub(crate) async fn a_shortage_around_boxes_ends_the_one_it_hits(
    engine: LocalEngine,
    data: PathBuf,
) -> Outcome {
    let hog = Guest::start(&engine, &data, "hog", 512).await?;
    let neighbour = Guest::start(&engine, &data, "neighbour", 512).await?;
    let group = memory_group(hog.pid)?.filter(|group| group.exists());
    let Some(around) = group.as_deref().and_then(Path::parent) else {
        boxherd_testkit::skip("a_shortage_around_boxes", "the memory controller is not on v1");
        engine.delete(hog.id).await?;
        return Ok(engine.delete(neighbour.id).await?);
    };
    fs::write(around.join("memory.limit_in_bytes"), "100663296")?;
    let begun = hog.begin(HOGS[0].1).await;
    hog.ends().await?;
    drop(begun);
    assert_eq!(state(&engine, &hog).await?, Some(TruthState::Stopped(StopReason::Oom)));
    let exec = neighbour.link.exec(ExecRequest::shell("echo fine")).await?;
    assert_eq!(exec.collect(Default::default(), 1024).await?.stdout, "fine\n");
    assert_eq!(state(&engine, &neighbour).await?, Some(TruthState::Running));
    engine.delete(hog.id).await?;
    engine.delete(neighbour.id).await?;
    Ok(())
}
