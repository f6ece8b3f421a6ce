//! A fault at every step, and what is left after it.

use std::time::Duration;

use boxherd_engine::{Child, Engine, EngineError, TruthState};
use boxherd_engine_fake::{FakeEngine, STEPS, Trouble, When};
use boxherd_model::{BoxId, BoxSpec, ByteSize, DiskId, DiskMount, SnapshotId, StopReason};

fn engine() -> FakeEngine {
    FakeEngine::new("fake".parse().unwrap()).unwrap()
}

fn spec(name: &str) -> BoxSpec {
    BoxSpec::new(name.parse().unwrap())
}

/// Does everything that an engine can do, whatever comes of it.
async fn live_a_whole_life(engine: &FakeEngine, ids: [BoxId; 2]) -> Vec<Result<(), EngineError>> {
    let [id, copy] = ids;
    let snapshot = SnapshotId::new();
    let snapshots = engine.snapshots().expect("the fake has snapshots");
    let disks = engine.disks().expect("the fake has disks");
    let disk = DiskId::new();
    let mount = DiskMount { disk, path: "/data".parse().unwrap(), read_only: false };
    let child = Child { id: copy, spec: spec("copy") };
    vec![
        engine.create(id, &spec("one")).await.map(drop),
        engine.start(id).await.map(drop),
        engine.connect(id).await.map(drop),
        engine.suspend(id).await,
        engine.resume(id).await,
        engine.fork(id, &[child]).await.map(drop),
        snapshots.take(id, snapshot).await,
        snapshots.list(id).await.map(drop),
        engine.claim(id, 1).await,
        engine.rename(id, &"two".parse().unwrap()).await,
        engine.reshape(id, &spec("two")).await,
        engine.console(id, 0).await.map(drop),
        engine.usage(id).await.map(drop),
        engine.inspect(id).await.map(drop),
        engine.list().await.map(drop),
        engine.stop(id, Duration::ZERO).await,
        snapshots.restore(id, snapshot).await,
        snapshots.remove(id, snapshot).await,
        disks.make(disk, ByteSize::from_mib(16)).await,
        disks.attach(id, &mount).await,
        disks.list().await.map(drop),
        disks.detach(id, disk).await,
        disks.remove(disk).await,
        engine.delete(id).await,
    ]
}

async fn is_empty_after_deleting(engine: &FakeEngine, ids: [BoxId; 2]) {
    engine.faults().clear();
    for id in ids {
        engine.delete(id).await.unwrap();
        assert!(!engine.disk(id).exists());
    }
    assert!(engine.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_life_without_faults_reaches_every_step() {
    let (engine, ids) = (engine(), [BoxId::new(), BoxId::new()]);
    for outcome in live_a_whole_life(&engine, ids).await {
        outcome.unwrap();
    }
    let log = engine.faults().log();
    let missed: Vec<_> = STEPS.iter().filter(|step| !log.contains(step)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[tokio::test]
async fn whatever_fails_a_delete_leaves_nothing() {
    for step in STEPS {
        for trouble in [Trouble::Refuse, Trouble::DiskFull, Trouble::Unreachable] {
            let (engine, ids) = (engine(), [BoxId::new(), BoxId::new()]);
            engine.faults().next(step, trouble);
            let outcomes = live_a_whole_life(&engine, ids).await;
            assert!(outcomes.iter().any(Result::is_err), "nothing failed at `{step}`");
            is_empty_after_deleting(&engine, ids).await;
        }
    }
}

#[tokio::test]
async fn whatever_is_cut_off_a_delete_leaves_nothing() {
    for step in STEPS {
        let (engine, ids) = (engine(), [BoxId::new(), BoxId::new()]);
        engine.faults().next(step, Trouble::Hang);
        // It hangs for ever, so that cutting it off can be neither too early nor too late.
        let reached = async {
            while !engine.faults().log().contains(step) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            outcomes = live_a_whole_life(&engine, ids) => panic!("`{step}`: {outcomes:?}"),
            () = reached => {}
        }
        is_empty_after_deleting(&engine, ids).await;
    }
}

#[tokio::test]
async fn of_copies_there_are_all_or_none() {
    let (engine, id) = (engine(), BoxId::new());
    engine.create(id, &spec("one")).await.unwrap();
    let children = ["a", "b", "c"].map(|name| Child { id: BoxId::new(), spec: spec(name) });
    engine.faults().at("fork.copy", When::Nth(2), Trouble::DiskFull);
    assert_eq!(engine.fork(id, &children).await.unwrap_err().code(), "exhausted");
    let left: Vec<_> = engine.list().await.unwrap().into_iter().map(|truth| truth.id).collect();
    assert_eq!(left, [id]);
}

#[tokio::test]
async fn boxes_can_crash_vanish_and_be_rebooted() {
    let (engine, ids) = (engine(), [BoxId::new(), BoxId::new(), BoxId::new()]);
    for (id, name) in ids.into_iter().zip(["a", "b", "c"]) {
        engine.create(id, &spec(name)).await.unwrap();
        engine.start(id).await.unwrap();
    }
    engine.crash(ids[0], StopReason::Oom).unwrap();
    engine.vanish(ids[1]).unwrap();
    engine.reboot();
    let truths = engine.list().await.unwrap();
    let states: Vec<_> = truths.into_iter().map(|truth| (truth.id, truth.state)).collect();
    assert_eq!(
        states,
        [
            (ids[0], TruthState::Stopped(StopReason::Oom)),
            (ids[2], TruthState::Stopped(StopReason::HostReboot)),
        ]
    );
}

#[tokio::test]
async fn an_engine_that_is_away_comes_back_with_its_boxes() {
    let (engine, id) = (engine(), BoxId::new());
    engine.create(id, &spec("a")).await.unwrap();
    engine.start(id).await.unwrap();
    engine.faults().unreachable(true);
    assert_eq!(engine.list().await.unwrap_err().code(), "unreachable");
    engine.faults().unreachable(false);
    assert_eq!(engine.inspect(id).await.unwrap().unwrap().state, TruthState::Running);
}
