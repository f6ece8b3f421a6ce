//! What boxes used, by a clock that the test steps.

use std::sync::atomic::Ordering;

use boxherd_model::usage::{DAY, Sums};
use boxherd_model::{Caller, Timestamp};

use super::callers::{user, with_clock};
use super::*;

/// States in seconds.
fn states(sums: Sums) -> [u64; 4] {
    [sums.running, sums.suspended, sums.hibernated, sums.stopped].map(|millis| millis / 1000)
}

#[tokio::test]
async fn a_box_is_counted_by_state_and_after_its_process_and_itself_are_gone() {
    let lab = Lab::new();
    let (herd, clock) = with_clock(&lab).await;
    let ann = user(&herd, "ann").await;
    let anns = herd.acting_for(Caller::User(ann));
    let start = clock.load(Ordering::SeqCst);
    let made = anns.create(spec("web").into()).await.unwrap();
    clock.fetch_add(10_000, Ordering::SeqCst);
    anns.suspend(&at("web")).await.unwrap();
    clock.fetch_add(20_000, Ordering::SeqCst);
    anns.resume(&at("web")).await.unwrap();
    clock.fetch_add(5_000, Ordering::SeqCst);
    anns.stop(&at("web"), Duration::ZERO).await.unwrap();
    clock.fetch_add(7_000, Ordering::SeqCst);

    let used = anns.used_by("web", None, None).await.unwrap();
    assert_eq!(states(used.sums), [15, 20, 0, 7]);
    assert_eq!(used.sums.cpu % 15_000, 0, "whole processors while it ran");
    assert_eq!((used.from.millis(), used.to.millis()), (start, start + 42_000));
    assert_eq!(anns.used_by("web", None, None).await.unwrap().sums, used.sums, "once only");

    // Another process goes on from there, however long there was none.
    let (again, later) = with_clock(&lab).await;
    let anns = again.acting_for(Caller::User(ann));
    later.store(start + 2 * DAY, Ordering::SeqCst);
    again.look_at_the_clock().await.unwrap();
    let days = u64::try_from(2 * DAY / 1000).unwrap();
    let used = anns.used_by(&made.id.to_string(), None, None).await.unwrap();
    assert_eq!(states(used.sums), [15, 20, 0, days - 35]);

    anns.delete(&at("web")).await.unwrap();
    later.fetch_add(50_000, Ordering::SeqCst);
    again.look_at_the_clock().await.unwrap();
    let used = anns.used_by("web", None, None).await.unwrap();
    assert_eq!((states(used.sums), used.now), ([15, 20, 0, days - 35], None));
    // The first day only.
    let first = Timestamp::from_millis(start + 1);
    let used = anns.used_by("web", Some(first), Some(first)).await.unwrap();
    let rest = (DAY - start.rem_euclid(DAY)) / 1000;
    assert_eq!(states(used.sums), [15, 20, 0, u64::try_from(rest).unwrap() - 35]);

    // After a year nobody knows.
    later.fetch_add(370 * DAY, Ordering::SeqCst);
    again.look_at_the_clock().await.unwrap();
    assert_eq!(anns.used_by("web", None, None).await.unwrap_err().code(), "no-such");
}

#[tokio::test]
async fn what_another_process_does_is_seen_and_nobody_elses_usage_is_told() {
    let lab = Lab::new();
    let (herd, clock) = with_clock(&lab).await;
    let (other, _) = with_clock(&lab).await;
    let ann = herd.acting_for(Caller::User(user(&herd, "ann").await));
    let bob = herd.acting_for(Caller::User(user(&herd, "bob").await));
    let made = ann.create(spec("web").into()).await.unwrap();
    clock.fetch_add(10_000, Ordering::SeqCst);
    let address = made.address();
    other.stop(&address, Duration::ZERO).await.unwrap();
    herd.look_at_the_clock().await.unwrap();
    clock.fetch_add(10_000, Ordering::SeqCst);
    assert_eq!(states(ann.used_by("web", None, None).await.unwrap().sums), [10, 0, 0, 10]);
    for name in ["web", &made.id.to_string(), &made.address().to_string()] {
        assert_eq!(bob.used_by(name, None, None).await.unwrap_err().code(), "no-such");
    }
    assert_eq!(bob.used(None, None).await.unwrap(), []);

    other.delete(&address).await.unwrap();
    clock.fetch_add(2_000, Ordering::SeqCst);
    herd.look_at_the_clock().await.unwrap();
    clock.fetch_add(60_000, Ordering::SeqCst);
    assert_eq!(states(ann.used_by("web", None, None).await.unwrap().sums), [10, 0, 0, 12]);
    let late = Timestamp::from_millis(clock.load(Ordering::SeqCst) + 1);
    assert_eq!(ann.used_by("web", Some(late), None).await.unwrap_err().code(), "invalid");
}
