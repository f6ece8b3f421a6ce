//! Users, and what they see of each other: nothing.

use boxherd_engine::TruthState;
use boxherd_model::{BoxId, BoxStatus, Caller, Deadline, Labels, Quota, Timestamp, UserId};
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;

/// A herd whose clock the test steps, in milliseconds.
pub(super) async fn with_clock(lab: &Lab) -> (Herd, Arc<AtomicI64>) {
    let mut herd = lab.herd().await;
    let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
    let hand = Arc::clone(&clock);
    Arc::make_mut(&mut herd.config).clock =
        Arc::new(move || Timestamp::from_millis(hand.load(Ordering::SeqCst)));
    (herd, clock)
}

pub(super) async fn user(herd: &Herd, name: &str) -> UserId {
    herd.add_user(name.parse().unwrap(), false, Quota::default()).await.unwrap().id
}

#[tokio::test]
async fn another_users_box_is_not_there_for_any_use_case() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let alice = herd.acting_for(Caller::User(user(&herd, "alice").await));
    let bob = herd.acting_for(Caller::User(user(&herd, "bob").await));
    let made = alice.create(spec("web").into()).await.unwrap();
    alice.take_snapshot(&at("web"), &"before".parse().unwrap()).await.unwrap();

    let before: SnapshotName = "before".parse().unwrap();
    for address in [at("web"), made.address(), made.id.to_string().parse().unwrap()] {
        let grace = Duration::ZERO;
        let fork = Fork { names: vec!["copy".parse().unwrap()], live: false };
        let refusals = [
            bob.show(&address).await.err(),
            bob.start(&address).await.err(),
            bob.stop(&address, grace).await.err(),
            bob.restart(&address, grace).await.err(),
            bob.suspend(&address).await.err(),
            bob.resume(&address).await.err(),
            bob.hibernate(&address).await.err(),
            bob.fork(&address, fork).await.err(),
            bob.rename(&address, "mine".parse().unwrap()).await.err(),
            bob.label(&address, Labels::new(), Vec::new()).await.err(),
            bob.change_timers(&address, |_, _| panic!("not his")).await.err(),
            bob.link(&address).await.err(),
            bob.exec(&address, ExecRequest::shell("true")).await.err(),
            bob.console(&address, 0).await.err(),
            bob.usage(&address).await.err(),
            bob.snapshots(&address).await.err(),
            bob.take_snapshot(&address, &before).await.err(),
            bob.restore_snapshot(&address, &before).await.err(),
            bob.remove_snapshot(&address, &before).await.err(),
            bob.resize(&address, None, None, grace).await.err(),
            bob.set_egress(&address, None).await.err(),
            bob.set_network(&address, &"back".parse().unwrap()).await.err(),
            bob.go_back(&address, &before, grace).await.err(),
            bob.copy_within(&address, "/a", "/b").await.err(),
            bob.keep_awake(&address).await.err(),
            bob.follow_console(&address, Follow::SoFar).await.err(),
            bob.delete(&address).await.err(),
        ];
        for (index, refusal) in refusals.into_iter().enumerate() {
            let code = refusal.map(|error| error.code());
            assert_eq!(code, Some("no-such-box"), "use case {index} of `{address}`");
        }
    }
    assert!(bob.list().await.unwrap().boxes.is_empty());
    assert_eq!(herd.list().await.unwrap().boxes.len(), 1, "the host sees all");
    alice.exec(&at("web"), ExecRequest::shell("true")).await.unwrap();
}

#[tokio::test]
async fn names_are_unique_for_an_owner_and_ones_own_comes_first() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let alice = herd.acting_for(Caller::User(user(&herd, "alice").await));
    let bob = herd.acting_for(Caller::User(user(&herd, "bob").await));
    let hers = alice.create(spec("web").into()).await.unwrap();
    let his = bob.create(spec("web").into()).await.unwrap();
    assert_eq!(alice.create(spec("web").into()).await.unwrap_err().code(), "name-taken");
    assert_eq!(alice.show(&at("web")).await.unwrap().id, hers.id);
    assert_eq!(bob.show(&at("web")).await.unwrap().id, his.id);
    assert_eq!(herd.show(&at("web")).await.unwrap_err().code(), "ambiguous");
    let own = herd.create(spec("web").into()).await.unwrap();
    assert_eq!(herd.show(&at("web")).await.unwrap().id, own.id);
}

#[tokio::test]
async fn the_first_start_makes_an_administrator_and_a_key_that_works() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let made = herd.bootstrap(None).await.unwrap().expect("the first start");
    assert!(made.key.reveal().starts_with("bxd_"));
    assert!(herd.bootstrap(None).await.unwrap().is_none(), "only the first");
    let token = herd.exchange(made.key.reveal()).await.unwrap();
    let admin = herd.authenticate(token.token.reveal()).await.unwrap();
    assert!(admin.whoami().await.unwrap().user.admin);
    assert!(!format!("{made:?}{token:?}").contains(made.key.reveal()));

    let given = Secret::new("a-key-of-the-operators-own".to_owned());
    herd.bootstrap(Some(given.clone())).await.unwrap().expect("a new key");
    assert!(herd.bootstrap(Some(given.clone())).await.unwrap().is_none(), "known by now");
    herd.exchange(given.reveal()).await.unwrap();
    let short = herd.bootstrap(Some(Secret::new("short".to_owned()))).await.unwrap_err();
    assert_eq!(short.code(), "invalid");
}

async fn refused(herd: &Herd, token: &str) -> String {
    let error = herd.authenticate(token).await.unwrap_err();
    assert_eq!(error.code(), "unauthenticated");
    error.to_string()
}

#[tokio::test]
async fn tokens_end_with_their_time_their_key_or_when_they_are_revoked() {
    let lab = Lab::new();
    let (herd, clock) = with_clock(&lab).await;
    let made = herd.bootstrap(None).await.unwrap().unwrap();
    let of_key = herd.exchange(made.key.reveal()).await.unwrap();
    let me = herd.authenticate(of_key.token.reveal()).await.unwrap();
    let asked = me.make_token(Some(Duration::from_secs(10 * 3600))).await.unwrap();
    herd.authenticate(asked.token.reveal()).await.unwrap();

    clock.fetch_add(3600 * 1000 - 1, Ordering::SeqCst);
    herd.authenticate(of_key.token.reveal()).await.unwrap();
    clock.fetch_add(1, Ordering::SeqCst);
    assert_eq!(refused(&herd, of_key.token.reveal()).await, "the token has expired");

    let listed = me.tokens().await.unwrap();
    assert_eq!(listed.len(), 1);
    me.revoke_token(listed[0].id).await.unwrap();
    assert_eq!(refused(&herd, asked.token.reveal()).await, "the token was revoked");
    assert_eq!(me.revoke_token(listed[0].id).await.unwrap_err().code(), "no-such");

    let again = herd.exchange(made.key.reveal()).await.unwrap();
    me.remove_key(made.record.id).await.unwrap();
    assert_eq!(refused(&herd, again.token.reveal()).await, "the token was revoked");
    assert_eq!(herd.exchange(made.key.reveal()).await.unwrap_err().code(), "unauthenticated");
}

#[tokio::test]
async fn keys_rotate_and_old_tokens_hold() {
    let lab = Lab::new();
    let (herd, clock) = with_clock(&lab).await;
    let made = herd.bootstrap(None).await.unwrap().unwrap();
    let of_key = herd.exchange(made.key.reveal()).await.unwrap();
    let me = herd.authenticate(of_key.token.reveal()).await.unwrap();
    let long = me.make_token(Some(Duration::from_secs(60 * 24 * 3600))).await.unwrap();
    clock.fetch_add(40 * 24 * 3600 * 1000, Ordering::SeqCst);
    herd.exchange(made.key.reveal()).await.unwrap();
    assert_eq!(herd.store.signing_keys().await.unwrap().len(), 2);
    herd.authenticate(long.token.reveal()).await.unwrap();
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_refused() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let made = herd.bootstrap(None).await.unwrap().unwrap();
    let good = herd.exchange(made.key.reveal()).await.unwrap();
    let good = good.token.reveal();
    let parts: Vec<_> = good.split('.').collect();
    let none = base64::Engine::encode(
        &base64::prelude::BASE64_URL_SAFE_NO_PAD,
        r#"{"alg":"none","typ":"JWT"}"#,
    );
    let forged = [
        String::new(),
        "x".repeat(1 << 20),
        "a.b.c".to_owned(),
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][1..]),
        format!("{}.{}.{}", parts[0], parts[1].to_lowercase(), parts[2]),
    ];
    for token in forged {
        assert_eq!(refused(&herd, &token).await, "the token is not valid");
    }
    let other = Lab::new();
    let stranger = other.herd().await;
    stranger.bootstrap(None).await.unwrap();
    assert_eq!(refused(&stranger, good).await, "the token is not valid");
}

#[tokio::test]
async fn users_do_nothing_for_others_and_nothing_that_is_administrators() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let (alice, bob) = (user(&herd, "alice").await, user(&herd, "bob").await);
    let key = herd.make_key(alice, "", None).await.unwrap();
    let bobs = herd.acting_for(Caller::User(bob));
    assert_eq!(bobs.keys(alice).await.unwrap_err().code(), "denied");
    assert_eq!(bobs.make_key(alice, "", None).await.unwrap_err().code(), "denied");
    assert_eq!(bobs.remove_key(key.record.id).await.unwrap_err().code(), "no-such");
    assert_eq!(bobs.users().await.unwrap_err().code(), "denied");
    let more = bobs.change_user(&"bob".parse().unwrap(), |user| user.admin = true).await;
    assert_eq!(more.unwrap_err().code(), "denied");
    assert_eq!(bobs.audited(10).await.unwrap_err().code(), "denied");
    let name = "eve".parse().unwrap();
    assert_eq!(bobs.add_user(name, true, Quota::default()).await.unwrap_err().code(), "denied");
}

#[tokio::test]
async fn boxes_that_nobody_uses_are_suspended_and_old_ones_deleted() {
    let lab = Lab::new();
    let (herd, clock) = with_clock(&lab).await;
    let mut wanted = spec("web");
    wanted.timers.suspend_after_idle = Some(30);
    wanted.timers.delete_after = Some(3600);
    herd.create(wanted.into()).await.unwrap();
    herd.look_at_the_clock().await.unwrap();
    let (_, used) = herd.keep_awake(&at("web")).await.unwrap();
    clock.fetch_add(31_000, Ordering::SeqCst);
    herd.look_at_the_clock().await.unwrap();
    assert_eq!(herd.show(&at("web")).await.unwrap().state, BoxState::Running, "it is used");
    drop(used);
    clock.fetch_add(29_000, Ordering::SeqCst);
    herd.look_at_the_clock().await.unwrap();
    assert_eq!(herd.show(&at("web")).await.unwrap().state, BoxState::Running);
    clock.fetch_add(1_000, Ordering::SeqCst);
    herd.look_at_the_clock().await.unwrap();
    assert_eq!(herd.show(&at("web")).await.unwrap().state, BoxState::Suspended);
    herd.exec(&at("web"), ExecRequest::shell("true")).await.unwrap();
    assert_eq!(herd.show(&at("web")).await.unwrap().state, BoxState::Running);

    // Another process, as after a restart of the server.
    let (again, later) = with_clock(&lab).await;
    later.fetch_add(3600 * 1000, Ordering::SeqCst);
    again.look_at_the_clock().await.unwrap();
    assert_eq!(again.show(&at("web")).await.unwrap_err().code(), "no-such-box");
}

async fn is_suspended(lab: &Lab, id: BoxId) -> bool {
    let truth = lab.engine.inspect(id).await.unwrap();
    truth.is_some_and(|truth| truth.state == TruthState::Suspended)
}

/// Whoever finds a box running just before it is put away would wait for it for ever.
#[tokio::test]
async fn a_box_that_is_used_while_it_is_put_away_is_woken() {
    let lab = Lab::new();
    let (herd, clock) = with_clock(&lab).await;
    let mut wanted = spec("web");
    wanted.timers.suspend_after_idle = Some(30);
    let made = herd.create(wanted.into()).await.unwrap();
    herd.exec(&at("web"), ExecRequest::shell("true")).await.unwrap();
    herd.look_at_the_clock().await.unwrap();
    clock.fetch_add(31_000, Ordering::SeqCst);
    // It stands still, and nobody has written so.
    lab.faults().next("suspend.end", Trouble::Slow(Duration::from_millis(300)));
    let used = async {
        while !is_suspended(&lab, made.id).await {
            tokio::task::yield_now().await;
        }
        let (_, _awake) = herd.keep_awake(&at("web")).await.unwrap();
        let exec = herd.exec(&at("web"), ExecRequest::shell("echo here")).await.unwrap();
        exec.collect(Default::default(), 1 << 20).await.unwrap()
    };
    let used = tokio::time::timeout(Duration::from_secs(10), used);
    let (looked, said) = tokio::join!(herd.look_at_the_clock(), used);
    looked.unwrap();
    assert_eq!(said.expect("it was woken").stdout, "here\n");
    assert_eq!(herd.show(&at("web")).await.unwrap().state, BoxState::Running);
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn timers_are_changed_and_survive_the_process() {
    let lab = Lab::new();
    let (herd, clock) = with_clock(&lab).await;
    herd.create(spec("web").into()).await.unwrap();
    let start = clock.load(Ordering::SeqCst);
    let end = Timestamp::from_millis(start + 60_000);
    let web = at("web");
    let changed = herd.change_timers(&web, |timers, now| {
        assert_eq!(now.millis(), start);
        timers.delete_at = Some(end);
    });
    assert_eq!(changed.await.unwrap().spec.timers.delete_at, Some(end));

    let (again, later) = with_clock(&lab).await;
    later.store(start + 59_999, Ordering::SeqCst);
    again.look_at_the_clock().await.unwrap();
    assert_eq!(again.show(&at("web")).await.unwrap().spec.timers.delete_at, Some(end));
    later.store(start + 60_000, Ordering::SeqCst);
    again.look_at_the_clock().await.unwrap();
    assert_eq!(again.show(&at("web")).await.unwrap_err().code(), "no-such-box");
}

#[tokio::test]
async fn a_copy_counts_to_its_deadline_anew_and_a_cron_expression_survives_the_process() {
    let lab = Lab::new();
    let (herd, clock) = with_clock(&lab).await;
    herd.create(spec("web").into()).await.unwrap();
    let start = clock.load(Ordering::SeqCst);
    let end = |status: BoxStatus| status.spec.timers.delete_at.unwrap().millis();
    let timed = herd.set_deadline(&at("web"), Some(Deadline::In(60))).await.unwrap();
    assert_eq!(end(timed), start + 60_000);
    clock.fetch_add(59_000, Ordering::SeqCst);
    let fork = || Fork { names: vec!["copy".parse().unwrap()], live: false };
    let copy = herd.fork(&at("web"), fork()).await.unwrap().remove(0);
    assert_eq!(end(copy), start + 119_000);
    clock.fetch_add(1_000, Ordering::SeqCst);
    herd.look_at_the_clock().await.unwrap();
    assert_eq!(herd.show(&at("web")).await.unwrap_err().code(), "no-such-box");

    let never = Some(Deadline::Cron("0 0 30 2 *".to_owned()));
    assert_eq!(herd.set_deadline(&at("copy"), never).await.unwrap_err().code(), "invalid");
    assert_eq!(end(herd.show(&at("copy")).await.unwrap()), start + 119_000, "it is unchanged");
    // 22:13:20 is 6,400 seconds before midnight.
    let nightly = Some(Deadline::Cron("0 0 * * *".to_owned()));
    let timed = herd.set_deadline(&at("copy"), nightly.clone()).await.unwrap();
    assert_eq!(end(timed), start + 6_400_000);
    herd.stop(&at("copy"), Duration::ZERO).await.unwrap();

    let (again, later) = with_clock(&lab).await;
    later.store(start + 6_399_999, Ordering::SeqCst);
    again.look_at_the_clock().await.unwrap();
    assert_eq!(again.show(&at("copy")).await.unwrap().spec.timers.deadline, nightly);
    later.store(start + 6_400_000, Ordering::SeqCst);
    again.look_at_the_clock().await.unwrap();
    assert_eq!(again.show(&at("copy")).await.unwrap_err().code(), "no-such-box");
}
