//! The use cases over the fake engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use boxherd_engine::Engine as _;
use boxherd_engine_fake::{FakeEngine, FaultPlan, Trouble, When};
use boxherd_link::ExecRequest;
use boxherd_model::{Address, BoxSpec, BoxState, EngineName, RestartPolicy, SnapshotName};
use boxherd_store::SqliteStore;
use proptest::prelude::*;

use super::*;

mod belongings;
mod callers;
mod disks;
mod leases;
mod machine;
mod metrics;
mod proxies;
mod quotas;
mod reshape;
mod usage;

struct Lab {
    folder: tempfile::TempDir,
    engine: Arc<FakeEngine>,
}

impl Lab {
    fn new() -> Self {
        let engine = FakeEngine::new(EngineName::local()).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), engine: Arc::new(engine) }
    }

    async fn herd(&self) -> Herd {
        self.herd_after_boot("first").await
    }

    /// A herd as another process would open it.
    async fn herd_after_boot(&self, boot: &str) -> Herd {
        let store = Arc::new(SqliteStore::open(&self.folder.path().join("herd.db")).unwrap());
        let mut config = HerdConfig::new(self.folder.path().join("locks"), boot.to_owned());
        config.patience = Duration::from_millis(100);
        Herd::open(store, vec![self.engine.clone()], config).await.unwrap()
    }

    fn faults(&self) -> &FaultPlan {
        self.engine.faults()
    }
}

fn spec(name: &str) -> BoxSpec {
    BoxSpec::new(name.parse().unwrap())
}

fn at(name: &str) -> Address {
    name.parse().unwrap()
}

async fn agree(herd: &Herd, lab: &Lab) {
    let known: BTreeSet<_> = herd.list().await.unwrap().boxes.iter().map(|b| b.id).collect();
    let there: BTreeSet<_> = lab.engine.list().await.unwrap().iter().map(|t| t.id).collect();
    assert_eq!(known, there);
    assert!(herd.store.unfinished().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_box_is_made_used_and_deleted() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let mut wanted = spec("web");
    wanted.env.insert("COLOUR".to_owned(), "red".to_owned());
    let made = herd.create(wanted.into()).await.unwrap();
    assert_eq!(made.state, BoxState::Running);

    let exec = herd.exec(&at("web"), ExecRequest::shell("echo $COLOUR")).await.unwrap();
    let said = exec.collect(Default::default(), 1 << 20).await.unwrap();
    assert_eq!(said.stdout, "red\n");

    assert_eq!(herd.suspend(&at("web")).await.unwrap().state, BoxState::Suspended);
    // Any use wakes it.
    herd.exec(&at("web"), ExecRequest::shell("true")).await.unwrap();
    assert_eq!(herd.show(&at("web")).await.unwrap().state, BoxState::Running);

    herd.rename(&at("web"), "site".parse().unwrap()).await.unwrap();
    assert_eq!(herd.show(&at("web")).await.unwrap_err().code(), "no-such-box");
    herd.stop(&at("site"), Duration::from_secs(1)).await.unwrap();
    let refused = herd.exec(&at("site"), ExecRequest::shell("true")).await.unwrap_err();
    assert_eq!(refused.code(), "not-running");
    herd.delete(&at("site")).await.unwrap();
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn a_box_that_cannot_start_leaves_nothing() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    for step in ["create", "create.disk", "start", "start.agent"] {
        lab.faults().next(step, Trouble::Refuse);
        let failed = herd.create(spec("web").into()).await.unwrap_err();
        assert_eq!(failed.code(), "refused", "{step}");
        agree(&herd, &lab).await;
    }
    herd.create(spec("web").into()).await.unwrap();
    let taken = herd.create(spec("web").into()).await.unwrap_err();
    assert_eq!(taken.code(), "name-taken");
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn forks_are_all_made_or_none() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    herd.create(spec("web").into()).await.unwrap();
    let names = |names: [&str; 2]| names.map(|name| name.parse().unwrap()).to_vec();
    let fork = Fork { names: names(["a", "b"]), live: false };
    let copies = herd.fork(&at("web"), fork).await.unwrap();
    assert!(copies.iter().all(|copy| copy.state == BoxState::Running));

    lab.faults().at("start", When::Nth(2), Trouble::Refuse);
    let fork = Fork { names: names(["c", "d"]), live: false };
    herd.fork(&at("web"), fork).await.unwrap_err();
    agree(&herd, &lab).await;
    let live = herd.fork(&at("web"), Fork { names: names(["e", "f"]), live: true }).await;
    assert_eq!(live.unwrap_err().code(), "unsupported");
}

#[tokio::test]
async fn a_snapshot_brings_a_disk_back() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    herd.create(spec("web").into()).await.unwrap();
    let name = "before".parse().unwrap();
    herd.take_snapshot(&at("web"), &name).await.unwrap();
    let again = herd.take_snapshot(&at("web"), &name).await.unwrap_err();
    assert_eq!(again.code(), "snapshot-taken");
    let running = herd.restore_snapshot(&at("web"), &name).await.unwrap_err();
    assert_eq!(running.code(), "not-stopped");
    herd.stop(&at("web"), Duration::from_secs(1)).await.unwrap();
    herd.restore_snapshot(&at("web"), &name).await.unwrap();
    herd.remove_snapshot(&at("web"), &name).await.unwrap();
    assert!(herd.snapshots(&at("web")).await.unwrap().is_empty());
    let gone = herd.remove_snapshot(&at("web"), &name).await.unwrap_err();
    assert_eq!(gone.code(), "no-such-snapshot");
}

#[tokio::test]
async fn what_a_dead_process_began_is_undone() {
    let lab = Lab::new();
    {
        let herd = lab.herd().await;
        // The process dies while the engine is at it.
        lab.faults().next("start.agent", Trouble::Hang);
        let create = herd.create(spec("web").into());
        let cut_off = tokio::time::timeout(Duration::from_millis(200), create).await;
        assert!(cut_off.is_err());
    }
    lab.faults().clear();
    let herd = lab.herd().await;
    assert!(herd.list().await.unwrap().boxes.is_empty());
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn what_a_living_process_does_is_left_alone() {
    let lab = Lab::new();
    let first = lab.herd().await;
    lab.faults().next("start.agent", Trouble::Hang);
    let create = first.create(spec("web").into());
    let cut_off = tokio::time::timeout(Duration::from_millis(200), create).await;
    assert!(cut_off.is_err());
    let second = lab.herd().await;
    assert_eq!(second.list().await.unwrap().boxes.len(), 1);
    assert_eq!(second.store.unfinished().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_box_for_one_command_goes_with_its_maker() {
    let lab = Lab::new();
    {
        let herd = lab.herd().await;
        let mut wanted = spec("once");
        wanted.ephemeral = true;
        herd.create(wanted.into()).await.unwrap();
        // Another process leaves it alone while its maker lives.
        assert_eq!(lab.herd().await.list().await.unwrap().boxes.len(), 1);
    }
    let herd = lab.herd().await;
    assert!(herd.list().await.unwrap().boxes.is_empty());
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn an_engine_that_is_away_costs_a_line_and_a_delete_is_finished_later() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    herd.create(spec("web").into()).await.unwrap();
    lab.faults().unreachable(true);
    let listing = herd.list().await.unwrap();
    assert_eq!((listing.boxes.len(), listing.unreachable.len()), (1, 1));
    assert_eq!(herd.delete(&at("web")).await.unwrap_err().code(), "unreachable");
    assert_eq!(herd.list().await.unwrap().boxes[0].state, BoxState::Deleting);
    drop(herd);
    lab.faults().unreachable(false);
    let herd = lab.herd().await;
    assert!(herd.list().await.unwrap().boxes.is_empty());
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn what_an_engine_may_have_begun_when_it_was_lost_is_removed_later() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    // Before anything was begun there is nothing to remove.
    lab.faults().next("create", Trouble::Unreachable);
    assert_eq!(herd.create(spec("web").into()).await.unwrap_err().code(), "unreachable");
    agree(&herd, &lab).await;

    let mut wanted = Create::from(spec("web"));
    wanted.key = Some("a key".to_owned());
    lab.faults().next("start", Trouble::Unreachable);
    let lost = herd.create(wanted.clone()).await.unwrap_err();
    assert_eq!(lost.code(), "unfinished");
    assert!(lost.hint().unwrap().contains("engine check"));
    let left = herd.list().await.unwrap().boxes;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].state, BoxState::Deleting);
    assert!(herd.create(wanted).await.is_err(), "what could not be made was not made before");
    herd.create(spec("source").into()).await.unwrap();
    drop(herd);

    let herd = lab.herd().await;
    agree(&herd, &lab).await;
    herd.create(spec("web").into()).await.unwrap();
    lab.faults().next("start", Trouble::Unreachable);
    let fork = Fork { names: vec!["copy".parse().unwrap()], live: false };
    let lost = herd.fork(&at("source"), fork.clone()).await.unwrap_err();
    assert_eq!(lost.code(), "unfinished");
    herd.reconcile().await.unwrap();
    agree(&herd, &lab).await;
    herd.fork(&at("source"), fork).await.unwrap();
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn a_server_that_does_not_get_rid_of_a_box_keeps_nobody_waiting_for_long() {
    let engine = FakeEngine::new("far".parse().unwrap()).unwrap();
    let lab = Lab { engine: Arc::new(engine), ..Lab::new() };
    {
        let herd = lab.herd().await;
        let far = |name| Create { engine: Some("far".parse().unwrap()), ..spec(name).into() };
        herd.create(far("web")).await.unwrap();
        lab.faults().next("start", Trouble::Unreachable);
        assert_eq!(herd.create(far("lost")).await.unwrap_err().code(), "unfinished");
    }
    for step in ["delete", "delete.disk"] {
        lab.faults().next(step, Trouble::Hang);
        let begun = std::time::Instant::now();
        let herd = lab.herd().await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!(herd.show(&at("web")).await.unwrap().state, BoxState::Running);
        let lost =
            herd.list().await.unwrap().boxes.into_iter().find(|b| b.spec.name.as_str() == "lost");
        assert_eq!(lost.unwrap().state, BoxState::Deleting, "{step}");
        assert!(herd.store.unfinished().await.unwrap().is_empty(), "{step}");
    }
    lab.faults().clear();
    agree(&lab.herd().await, &lab).await;
}

#[tokio::test]
async fn a_box_that_nobody_can_look_at_is_unreachable_and_not_gone() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let lost = herd.create(spec("lost").into()).await.unwrap();
    herd.create(spec("seen").into()).await.unwrap();
    lab.faults().lose(&[lost.id]);
    for _ in 0..2 {
        let listing = herd.list().await.unwrap();
        let of = |name: &str| {
            let found = listing.boxes.iter().find(|status| status.spec.name.as_str() == name);
            let found = found.unwrap();
            (found.state, found.unreachable)
        };
        let running = BoxState::Running;
        assert_eq!((of("lost"), of("seen")), ((running, true), (running, false)));
        assert!(listing.unreachable.is_empty(), "the engine answers");
        assert_eq!(herd.reconcile().await.unwrap(), Repairs::default());
    }
    let shown = herd.show(&at("lost")).await.unwrap();
    assert_eq!((shown.state, shown.unreachable), (BoxState::Running, true));
    assert_eq!(herd.stop(&at("lost"), Duration::ZERO).await.unwrap_err().code(), "unreachable");
    lab.faults().lose(&[]);
    let found = herd.show(&at("lost")).await.unwrap();
    assert_eq!((found.state, found.unreachable), (BoxState::Running, false));
    // Deleted while it is lost, it is gone when it is found.
    lab.faults().lose(&[lost.id]);
    assert_eq!(herd.delete(&at("lost")).await.unwrap_err().code(), "unreachable");
    assert_eq!(herd.list().await.unwrap().boxes.len(), 2);
    lab.faults().lose(&[]);
    herd.reconcile().await.unwrap();
    assert_eq!(herd.list().await.unwrap().boxes.len(), 1);
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn an_engine_that_never_answers_keeps_nobody_waiting_for_long() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    herd.create(spec("web").into()).await.unwrap();
    lab.faults().next("list", Trouble::Hang);
    let listing = herd.list().await.unwrap();
    assert_eq!((listing.boxes.len(), listing.unreachable.len()), (1, 1));
    assert!(listing.unreachable[0].1.to_string().contains("cannot be reached"));
}

#[tokio::test]
async fn two_requests_with_one_key_make_one_box() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let create = |name| Create {
        spec: spec(name),
        engine: None,
        key: Some("k".to_owned()),
        volumes: Vec::new(),
        machine: None,
    };
    let first = herd.create(create("a")).await.unwrap();
    let second = herd.create(create("b")).await.unwrap();
    assert_eq!(first.id, second.id);
}

#[tokio::test]
async fn what_nobody_knows_is_removed_and_what_vanished_is_said() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let lost = herd.create(spec("lost").into()).await.unwrap();
    let orphan = boxherd_model::BoxId::new();
    lab.engine.create(orphan, &spec("orphan")).await.unwrap();
    lab.engine.delete(lost.id).await.unwrap();
    let repairs = herd.reconcile().await.unwrap();
    assert_eq!((repairs.orphans, repairs.corrected), (vec![orphan], vec![lost.id]));
    let shown = herd.show(&at("lost")).await.unwrap();
    assert_eq!(shown.state, BoxState::Failed);
    assert!(shown.failure.unwrap().contains("nothing of it"));
    herd.delete(&at("lost")).await.unwrap();
    agree(&herd, &lab).await;
}

/// A delete takes time, in which the box is there in part, and then gone before that is written down.
#[tokio::test]
async fn a_box_that_is_being_deleted_has_not_failed() {
    for step in ["delete.disk", "delete.end"] {
        let lab = Lab::new();
        let herd = lab.herd().await;
        herd.create(spec("web").into()).await.unwrap();
        lab.faults().next(step, Trouble::Hang);
        let address = at("web");
        let mut deleting = Box::pin(herd.delete(&address));
        let reached = async {
            while !lab.faults().log().contains(&step) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            deleted = &mut deleting => panic!("{deleted:?}"),
            () = reached => {}
        }
        assert_eq!(herd.reconcile().await.unwrap(), Repairs::default(), "{step}");
        assert_eq!(herd.list().await.unwrap().boxes[0].state, BoxState::Running, "{step}");
        assert_eq!(herd.show(&address).await.unwrap().state, BoxState::Running, "{step}");
        drop(deleting);
        // Nobody is at it any more.
        herd.list().await.unwrap();
        assert_eq!(herd.show(&address).await.unwrap().state, BoxState::Failed, "{step}");
        herd.delete(&address).await.unwrap();
        assert!(herd.list().await.unwrap().boxes.is_empty(), "{step}");
    }
}

#[tokio::test]
async fn labels_and_restart_policies_are_kept() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let mut wanted = spec("web");
    wanted.restart = RestartPolicy::Always;
    herd.create(wanted.into()).await.unwrap();
    let set = [("tier".to_owned(), "front".to_owned())].into();
    herd.label(&at("web"), set, Vec::new()).await.unwrap();
    drop(herd);
    let herd = lab.herd_after_boot("second").await;
    let shown = herd.show(&at("web")).await.unwrap();
    assert_eq!(shown.spec.labels["tier"], "front");
    assert_eq!(shown.spec.restart, RestartPolicy::Always);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Create(u8),
    Start(u8),
    Stop(u8),
    Suspend(u8),
    Resume(u8),
    Fork(u8, u8),
    Rename(u8, u8),
    Delete(u8),
    Reopen,
    Trouble(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let name = 0u8..3;
    prop_oneof![
        3 => name.clone().prop_map(Step::Create),
        1 => name.clone().prop_map(Step::Start),
        1 => name.clone().prop_map(Step::Stop),
        1 => name.clone().prop_map(Step::Suspend),
        1 => name.clone().prop_map(Step::Resume),
        2 => (name.clone(), name.clone()).prop_map(|(a, b)| Step::Fork(a, b)),
        1 => (name.clone(), name.clone()).prop_map(|(a, b)| Step::Rename(a, b)),
        2 => name.prop_map(Step::Delete),
        1 => Just(Step::Reopen),
        3 => (0..boxherd_engine_fake::STEPS.len()).prop_map(Step::Trouble),
    ]
}

/// Whatever the use case says, it must not break anything: the answer itself is not looked at.
async fn play(lab: &Lab, herd: &mut Herd, step: Step) {
    let name = |n: u8| format!("box-{n}");
    let outcome = match step {
        Step::Create(n) => herd.create(spec(&name(n)).into()).await.map(drop),
        Step::Start(n) => herd.start(&at(&name(n))).await.map(drop),
        Step::Stop(n) => herd.stop(&at(&name(n)), Duration::ZERO).await.map(drop),
        Step::Suspend(n) => herd.suspend(&at(&name(n))).await.map(drop),
        Step::Resume(n) => herd.resume(&at(&name(n))).await.map(drop),
        Step::Fork(n, m) => {
            let fork = Fork { names: vec![name(m).parse().unwrap()], live: false };
            herd.fork(&at(&name(n)), fork).await.map(drop)
        }
        Step::Rename(n, m) => herd.rename(&at(&name(n)), name(m).parse().unwrap()).await.map(drop),
        Step::Delete(n) => herd.delete(&at(&name(n))).await,
        Step::Reopen => {
            *herd = lab.herd().await;
            Ok(())
        }
        Step::Trouble(n) => {
            lab.faults().next(boxherd_engine_fake::STEPS[n], Trouble::Refuse);
            Ok(())
        }
    };
    if let Err(error) = outcome {
        assert!(!error.code().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn store_and_engine_agree_after_any_sequence(
        steps in proptest::collection::vec(any_step(), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lab = Lab::new();
            let mut herd = lab.herd().await;
            for step in steps {
                play(&lab, &mut herd, step).await;
            }
            lab.faults().clear();
            herd.reconcile().await.unwrap();
            agree(&herd, &lab).await;
            for made in herd.list().await.unwrap().boxes {
                herd.delete(&Address::of(made.spec.name)).await.unwrap();
            }
            agree(&herd, &lab).await;
        });
    }
}
