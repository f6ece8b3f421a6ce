//! How much users may have.

use boxherd_model::{ByteSize, Caller, Quota};

use super::*;

async fn user_with(herd: &Herd, name: &str, quota: Quota) -> Herd {
    let user = herd.add_user(name.parse().unwrap(), false, quota).await.unwrap();
    herd.acting_for(Caller::User(user.id))
}

fn quota_named(error: HerdError) -> String {
    assert_eq!(error.code(), "quota");
    error.to_string()
}

#[tokio::test]
async fn a_user_has_no_more_boxes_than_the_quota_says_and_others_have_theirs() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let two = Quota { boxes: Some(2), ..Quota::default() };
    let alice = user_with(&herd, "alice", two).await;
    let bob = user_with(&herd, "bob", Quota::default()).await;
    alice.create(spec("one").into()).await.unwrap();
    let fork = |names: &[&str]| Fork {
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        live: false,
    };
    let refused = alice.fork(&at("one"), fork(&["two", "three"])).await.unwrap_err();
    assert_eq!(quota_named(refused), "the quota of boxes is used up: 2");
    alice.fork(&at("one"), fork(&["two"])).await.unwrap();
    let refused = alice.create(spec("three").into()).await.unwrap_err();
    assert_eq!(quota_named(refused), "the quota of boxes is used up: 2");
    assert_eq!(alice.list().await.unwrap().boxes.len(), 2, "nothing of it is left");
    bob.create(spec("three").into()).await.unwrap();
    herd.create(spec("three").into()).await.unwrap();

    alice.stop(&at("one"), Duration::ZERO).await.unwrap();
    assert_eq!(alice.create(spec("three").into()).await.unwrap_err().code(), "quota");
    alice.delete(&at("one")).await.unwrap();
    alice.create(spec("three").into()).await.unwrap();
    let name = "alice".parse().unwrap();
    herd.change_user(&name, |user| user.quota.boxes = None).await.unwrap();
    alice.create(spec("four").into()).await.unwrap();
}

#[tokio::test]
async fn what_no_quota_counts_is_for_administrators() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let alice = user_with(&herd, "alice", Quota::default()).await;
    let nested = BoxSpec { nesting: true, ..spec("nested") };
    let mut many = spec("many");
    many.limits.pids = Some(boxherd_model::DEFAULT_PIDS + 1);
    let profiled = BoxSpec { profiles: vec!["default".parse().unwrap()], ..spec("profiled") };
    let placed = BoxSpec { target: Some("n1".parse().unwrap()), ..spec("placed") };
    for spec in [nested, many, profiled, placed] {
        assert_eq!(alice.create(spec.clone().into()).await.unwrap_err().code(), "denied");
        let host = herd.create(spec.into()).await.err();
        assert!(host.is_none_or(|error| error.code() == "unsupported"));
    }
    // What cloud-init does, root of the box may do anyway; a virtual machine is held apart even more.
    for allowed in [
        BoxSpec { cloud_init: Some("#!/bin/sh\n".parse().unwrap()), ..spec("told") },
        BoxSpec { vm: true, ..spec("machine") },
    ] {
        assert_eq!(alice.create(allowed.into()).await.unwrap_err().code(), "unsupported");
    }
    let mut few = spec("few");
    few.limits.pids = Some(boxherd_model::DEFAULT_PIDS);
    let few = alice.create(few.into()).await.err();
    assert!(few.is_none_or(|error| error.code() == "unsupported"));
}

#[tokio::test]
async fn images_that_would_be_fetched_are_for_administrators() {
    let engine = FakeEngine::new(EngineName::local()).unwrap();
    let engine = Arc::new(engine.pretending(boxherd_model::Capability::Images));
    let lab = Lab { engine, ..Lab::new() };
    let herd = lab.herd().await;
    let alice = user_with(&herd, "alice", Quota::default()).await;
    let of = |image: &str| BoxSpec { image: image.parse().unwrap(), ..spec("web") };
    let refused = alice.create(of("images:debian/12").into()).await.unwrap_err();
    assert!(refused.code() == "denied" && refused.to_string().contains("pulled"), "{refused}");
    assert!(alice.list().await.unwrap().boxes.is_empty());
    alice.create(of("debian-12").into()).await.unwrap();
    herd.create(of("images:debian/12").into()).await.unwrap();
}

#[tokio::test]
async fn text_with_a_nul_is_refused_by_its_field() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let bad = || "a\0b".to_owned();
    for (field, spec) in [
        ("user", BoxSpec { user: Some(bad()), ..spec("web") }),
        ("workdir", BoxSpec { workdir: Some(bad()), ..spec("web") }),
        ("cmd", BoxSpec { cmd: vec!["true".to_owned(), bad()], ..spec("web") }),
        ("env", BoxSpec { env: [("A".to_owned(), bad())].into(), ..spec("web") }),
    ] {
        let refused = herd.create(spec.into()).await.unwrap_err().to_string();
        assert!(refused.contains(field), "{refused}");
    }
    assert!(herd.list().await.unwrap().boxes.is_empty());
}

#[tokio::test]
async fn many_at_once_are_no_way_around_a_quota() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let three = Quota { boxes: Some(3), ..Quota::default() };
    let alice = user_with(&herd, "alice", three).await;
    let made = (0..10).map(|n| alice.create(spec(&format!("box-{n}")).into()));
    let made = futures_util::future::join_all(made).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 3);
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn a_quota_that_the_engine_cannot_hold_a_box_to_is_no_box() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let quota = Quota { memory: Some(ByteSize::from_mib(64)), ..Quota::default() };
    let alice = user_with(&herd, "alice", quota).await;
    // The fake engine limits no memory.
    assert_eq!(alice.create(spec("web").into()).await.unwrap_err().code(), "unsupported");
}

#[tokio::test]
async fn commands_count_for_as_long_as_they_are_there() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let alice = user_with(&herd, "alice", Quota { execs: Some(2), ..Quota::default() }).await;
    let first = alice.exec_slot().await.unwrap();
    let _second = alice.exec_slot().await.unwrap();
    let refused = alice.exec_slot().await.unwrap_err();
    assert_eq!(quota_named(refused), "the quota of execs is used up: 2");
    herd.exec_slot().await.unwrap();
    drop(first);
    alice.exec_slot().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn commands_to_which_nobody_listens_count_until_they_are_given_up() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let alice = user_with(&herd, "alice", Quota { execs: Some(1), ..Quota::default() }).await;
    let command = (boxherd_model::BoxId::new(), boxherd_link::ExecId::from_u64(7));
    let minute = Duration::from_secs(60);
    let is_full = async || alice.exec_slot().await.is_err();
    let slot = alice.exec_slot().await.unwrap();
    alice.leave_slot(command, slot, minute);
    assert!(is_full().await);
    // Whoever goes on with it is not refused, and leaves it again.
    let (slot, keep) = alice.take_slot(command);
    assert_eq!(keep, Some(minute));
    assert!(is_full().await);
    tokio::time::sleep(minute / 2).await;
    alice.leave_slot(command, slot, minute);
    tokio::time::sleep(minute * 3 / 4).await;
    assert!(is_full().await, "the first time it was left is over, and the second is not");
    tokio::time::sleep(minute).await;
    let slot = alice.exec_slot().await.unwrap();
    // One of which this server knows nothing counts too.
    let (unknown, keep) = alice.take_slot(command);
    assert_eq!(keep, None);
    drop(slot);
    assert!(is_full().await);
    drop(unknown);
    assert!(!is_full().await);
}
