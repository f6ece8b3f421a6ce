use std::time::Duration;

use boxherd_model::ThingId;

use super::*;
use crate::{Durability, Outcome, ThingKind, ThingRecord};

pub(super) fn thing(kind: ThingKind, name: &str) -> ThingRecord {
    ThingRecord {
        id: ThingId::new(),
        kind,
        owner: None,
        of: None,
        name: name.to_owned(),
        body: "{}".to_owned(),
        created: at(1),
    }
}

pub(super) async fn things_are_unique_by_kind_owner_box_and_name(home: &dyn Home) {
    let store = home.open().await;
    let (ann, web) = (Some(UserId::new()), BoxId::new());
    let mut disk = thing(ThingKind::Disk, "data");
    let anns = ThingRecord { owner: ann, ..thing(ThingKind::Disk, "data") };
    let of_web = ThingRecord { owner: ann, of: Some(web), ..thing(ThingKind::Disk, "data") };
    for thing in [&disk, &anns, &of_web, &thing(ThingKind::Domain, "data")] {
        store.add_thing(thing).await.unwrap();
        let again = ThingRecord { id: ThingId::new(), ..(*thing).clone() };
        let refused = store.add_thing(&again).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("there is a {} `data` already", thing.kind));
    }
    let disks = [disk.clone(), anns, of_web.clone()];
    assert_eq!(store.things(ThingKind::Disk).await.unwrap(), disks);
    assert_eq!(store.things_owned(ThingKind::Disk, ann).await.unwrap(), disks[1..]);
    assert_eq!(store.things_owned(ThingKind::Disk, None).await.unwrap(), disks[..1]);
    assert_eq!(store.things_named(ThingKind::Disk, "data").await.unwrap(), disks);
    assert_eq!(store.things_of(ThingKind::Disk, web).await.unwrap(), std::slice::from_ref(&of_web));
    assert!(store.things_of(ThingKind::Domain, web).await.unwrap().is_empty());
    assert_eq!(store.thing(ThingKind::Disk, disk.id).await.unwrap(), Some(disk.clone()));
    assert_eq!(store.thing(ThingKind::Network, disk.id).await.unwrap(), None);

    disk.name = "more".to_owned();
    disk.body = r#"{"size":"1GiB"}"#.to_owned();
    store.update_thing(&disk).await.unwrap();
    assert_eq!(store.thing(ThingKind::Disk, disk.id).await.unwrap(), Some(disk.clone()));
    let clash = thing(ThingKind::Disk, "clash");
    store.add_thing(&clash).await.unwrap();
    let clash = ThingRecord { name: disk.name.clone(), ..clash };
    assert_eq!(store.update_thing(&clash).await.unwrap_err().code(), "taken");

    assert!(store.remove_thing(disk.id).await.unwrap());
    assert!(!store.remove_thing(disk.id).await.unwrap());
    store.update_thing(&disk).await.unwrap();
    assert_eq!(store.thing(ThingKind::Disk, disk.id).await.unwrap(), None, "gone stays gone");
}

pub(super) async fn a_box_takes_its_things_and_its_lease_with_it(home: &dyn Home) {
    let store = home.open().await;
    let made = record("web");
    let mut create = operation(OperationKind::Create, &made);
    store.begin(&create, std::slice::from_ref(&made)).await.unwrap();
    let stays = thing(ThingKind::Proxy, "stays");
    store.add_thing(&stays).await.unwrap();
    for kind in ThingKind::ALL {
        store.add_thing(&ThingRecord { of: Some(made.id), ..thing(kind, "goes") }).await.unwrap();
    }
    store.acquire(made.id, "one", Duration::MAX).await.unwrap().unwrap();

    create.outcome = Some(Outcome::Failed);
    store.finish(&create, &[], &[made.id], Durability::Disk).await.unwrap();
    for kind in ThingKind::ALL {
        assert!(store.things_of(kind, made.id).await.unwrap().is_empty());
    }
    assert_eq!(store.things(ThingKind::Proxy).await.unwrap(), [stays]);
    assert_eq!(store.holder_of(made.id).await.unwrap(), None);
}
