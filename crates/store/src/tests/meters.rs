use boxherd_model::usage::Sums;

use super::*;
use crate::UsageRecord;

fn day(id: BoxId, owner: Option<UserId>, day: i64, running: u64) -> UsageRecord {
    let sums = Sums { running, disk: 7, ..Sums::default() };
    UsageRecord { id, owner, name: "web".to_owned(), day, sums }
}

pub(super) async fn what_was_used_is_summed_by_day_and_counted_once(home: &dyn Home) {
    let (one, other) = (home.open().await, home.open().await);
    let (ann, web) = (Some(UserId::new()), BoxId::new());
    assert_eq!(one.counted(web, at(10)).await.unwrap(), at(10));
    assert_eq!(other.counted(web, at(99)).await.unwrap(), at(10), "it began at 10");
    assert!(one.count(web, at(10), at(30), &[day(web, ann, 0, 20)]).await.unwrap());
    // The other one counted from 10 too, and is told that it is late.
    assert!(!other.count(web, at(10), at(40), &[day(web, ann, 0, 30)]).await.unwrap());
    assert_eq!(other.counted(web, at(10)).await.unwrap(), at(30));
    let more = [day(web, ann, 0, 5), day(web, ann, 1, 6)];
    assert!(other.count(web, at(30), at(41), &more).await.unwrap());
    let used = one.used(ann, 0..=1).await.unwrap();
    let mut first = day(web, ann, 0, 25);
    first.sums.disk = 14;
    assert_eq!(used, [first.clone(), day(web, ann, 1, 6)]);
    assert_eq!(one.used(ann, 0..=0).await.unwrap(), [first]);
    assert!(one.used(None, 0..=1).await.unwrap().is_empty());
}

pub(super) async fn of_many_that_count_at_once_one_does(home: &dyn Home) {
    let store = home.open().await;
    let web = BoxId::new();
    store.counted(web, at(0)).await.unwrap();
    let days = [day(web, None, 0, 1)];
    let counts = (0..16).map(|n| store.count(web, at(0), at(100 + n), &days));
    let counted = futures_util::future::join_all(counts).await;
    assert_eq!(counted.into_iter().filter(|done| *done.as_ref().unwrap()).count(), 1);
    assert_eq!(store.used(None, 0..=0).await.unwrap(), days);
}

pub(super) async fn old_and_surplus_sums_are_forgotten(home: &dyn Home) {
    let store = home.open().await;
    let web = BoxId::new();
    store.counted(web, at(0)).await.unwrap();
    let days: Vec<_> = (0..10).map(|n| day(web, None, n, 1)).collect();
    assert!(store.count(web, at(0), at(1), &days).await.unwrap());
    store.forget_used(3, 100).await.unwrap();
    assert_eq!(store.used(None, 0..=9).await.unwrap(), days[3..]);
    store.forget_used(3, 2).await.unwrap();
    assert_eq!(store.used(None, 0..=9).await.unwrap(), days[8..]);
    // There is no such box any more, so that it is not counted on either.
    assert_eq!(store.counted(web, at(5)).await.unwrap(), at(5));
}
