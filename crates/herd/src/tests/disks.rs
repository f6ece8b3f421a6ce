//! Disks of users.

use boxherd_model::{ByteSize, Caller, Quota};

use super::*;

const SIZE: ByteSize = ByteSize::from_mib(64);

async fn user(herd: &Herd, name: &str, quota: Quota) -> Herd {
    let user = herd.add_user(name.parse().unwrap(), false, quota).await.unwrap();
    herd.acting_for(Caller::User(user.id))
}

fn on(disk: &str, path: &str) -> Volume {
    Volume { disk: disk.to_owned(), path: path.parse().unwrap(), read_only: false }
}

async fn said(herd: &Herd, name: &str, line: &str) -> String {
    let exec = herd.exec(&at(name), ExecRequest::shell(line)).await.unwrap();
    let done = exec.collect(Default::default(), 1 << 16).await.unwrap();
    String::from_utf8(done.stdout.to_vec()).unwrap()
}

#[tokio::test]
async fn a_disk_goes_from_box_to_box_and_nobody_else_has_it() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let alice = user(&herd, "alice", Quota::default()).await;
    let bob = user(&herd, "bob", Quota::default()).await;
    for name in ["one", "two"] {
        alice.create(spec(name).into()).await.unwrap();
    }
    bob.create(spec("one").into()).await.unwrap();
    let made = alice.make_disk(None, &"data".parse().unwrap(), SIZE).await.unwrap();
    assert!(made.ready && made.attached.is_none());
    assert_eq!(
        alice.make_disk(None, &"data".parse().unwrap(), SIZE).await.unwrap_err().code(),
        "taken"
    );
    alice.attach_disk(&at("one"), &on("data", "/srv")).await.unwrap();
    let again = alice.attach_disk(&at("two"), &on("data", "/srv")).await.unwrap_err();
    assert_eq!(again.code(), "disk-in-use");
    let listed = alice.disks().await.unwrap().pop().unwrap();
    let attached = listed.attached.unwrap();
    assert_eq!((attached.name.as_str(), attached.path.as_str()), ("one", "/srv"));

    for text in ["data", &made.id.to_string()] {
        assert_eq!(bob.remove_disk(text).await.unwrap_err().code(), "no-such");
        let stolen = bob.attach_disk(&at("one"), &on(text, "/srv")).await;
        assert_eq!(stolen.unwrap_err().code(), "no-such");
        assert_eq!(bob.detach_disk(&at("one"), text).await.unwrap_err().code(), "no-such");
    }
    assert!(bob.disks().await.unwrap().is_empty());

    assert_eq!(said(&alice, "one", "echo hello > ../srv/file && echo done").await, "done\n");
    assert_eq!(alice.remove_disk("data").await.unwrap_err().code(), "disk-in-use");
    assert_eq!(alice.detach_disk(&at("two"), "data").await.unwrap_err().code(), "wrong-state");
    alice.delete(&at("one")).await.unwrap();
    let volumes = vec![on(&made.id.to_string(), "/mnt/data")];
    let create = Create { volumes, ..spec("three").into() };
    alice.create(create).await.unwrap();
    assert_eq!(said(&alice, "three", "cat ../mnt/data/file").await, "hello\n");
    alice.detach_disk(&at("three"), "data").await.unwrap();
    alice.remove_disk("data").await.unwrap();
    assert!(alice.disks().await.unwrap().is_empty());
}

#[tokio::test]
async fn disks_count_in_the_quota_and_have_a_size_that_makes_sense() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let quota = Quota { disk: Some(ByteSize::from_mib(100)), ..Quota::default() };
    let alice = user(&herd, "alice", quota).await;
    alice.make_disk(None, &"one".parse().unwrap(), SIZE).await.unwrap();
    let second = alice.make_disk(None, &"two".parse().unwrap(), SIZE).await.unwrap_err();
    assert_eq!(second.code(), "quota");
    alice.remove_disk("one").await.unwrap();
    alice.make_disk(None, &"two".parse().unwrap(), SIZE).await.unwrap();
    for size in [0, 1 << 20, u64::MAX] {
        let made = herd.make_disk(None, &"odd".parse().unwrap(), ByteSize::from_bytes(size)).await;
        assert_eq!(made.unwrap_err().code(), "invalid");
    }
}

#[tokio::test]
async fn what_fails_leaves_no_disk_and_no_box() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    lab.faults().next("disk.make", Trouble::DiskFull);
    let made = herd.make_disk(None, &"data".parse().unwrap(), SIZE).await;
    assert_eq!(made.unwrap_err().code(), "exhausted");
    assert!(herd.disks().await.unwrap().is_empty());
    herd.make_disk(None, &"data".parse().unwrap(), SIZE).await.unwrap();
    lab.faults().next("disk.attach", Trouble::Refuse);
    let create = Create { volumes: vec![on("data", "/srv")], ..spec("web").into() };
    assert_eq!(herd.create(create).await.unwrap_err().code(), "refused");
    assert!(herd.list().await.unwrap().boxes.is_empty());
    assert_eq!(herd.disks().await.unwrap()[0].attached, None);
    agree(&herd, &lab).await;
}
