//! Other limits and networks for boxes that are there.

use boxherd_model::{ByteSize, Caller, Capability, NetworkName, Quota};

use super::*;

/// A lab whose engine takes limits and networks.
fn lab() -> Lab {
    let engine = FakeEngine::new(EngineName::local()).unwrap();
    let wanted = [
        Capability::MemoryLimit,
        Capability::Network,
        Capability::PrivateNetworks,
        Capability::Egress,
    ];
    let engine = wanted.into_iter().fold(engine, FakeEngine::pretending);
    Lab { folder: tempfile::tempdir().unwrap(), engine: Arc::new(engine) }
}

fn mib(count: u64) -> Option<ByteSize> {
    Some(ByteSize::from_mib(count))
}

async fn user(herd: &Herd, name: &str, memory: Option<ByteSize>) -> Herd {
    let quota = Quota { memory, ..Quota::default() };
    let user = herd.add_user(name.parse().unwrap(), false, quota).await.unwrap();
    herd.acting_for(Caller::User(user.id))
}

#[tokio::test]
async fn a_running_box_is_restarted_for_another_size_and_a_stopped_one_is_not() {
    let lab = lab();
    let herd = lab.herd().await;
    herd.create(spec("web").into()).await.unwrap();
    let web = at("web");
    let resize = |memory| herd.resize(&web, None, memory, Duration::ZERO);
    let (status, restarted) = resize(mib(64)).await.unwrap();
    assert_eq!((status.spec.limits.memory, restarted), (mib(64), true));
    assert_eq!(status.state, BoxState::Running);
    assert!(!resize(mib(64)).await.unwrap().1, "it has that size");
    herd.suspend(&at("web")).await.unwrap();
    assert_eq!(resize(mib(128)).await.unwrap_err().code(), "not-stopped");
    herd.stop(&at("web"), Duration::ZERO).await.unwrap();
    let (status, restarted) = resize(mib(128)).await.unwrap();
    assert_eq!((status.state, restarted), (BoxState::Stopped, false));
    // As another process finds it.
    let again = lab.herd().await;
    assert_eq!(again.show(&at("web")).await.unwrap().spec.limits.memory, mib(128));
    agree(&herd, &lab).await;
}

#[tokio::test]
async fn memory_is_counted_when_boxes_are_made_started_and_resized() {
    let lab = lab();
    let herd = lab.herd().await;
    let alice = user(&herd, "alice", mib(1024)).await;
    let sized = |name: &str, memory| {
        let mut wanted = spec(name);
        wanted.limits.memory = memory;
        wanted
    };
    alice.create(sized("one", mib(600)).into()).await.unwrap();
    let refused = alice.create(sized("two", mib(600)).into()).await.unwrap_err();
    assert_eq!(refused.to_string(), "the quota of memory is used up: 1GiB");
    assert_eq!(alice.create(spec("two").into()).await.unwrap_err().code(), "quota", "1 GiB");
    alice.create(sized("two", mib(400)).into()).await.unwrap();
    let (one, grace) = (at("one"), Duration::ZERO);
    assert_eq!(alice.resize(&one, None, mib(700), grace).await.unwrap_err().code(), "quota");
    alice.resize(&one, None, mib(624), grace).await.unwrap();
    alice.stop(&one, grace).await.unwrap();
    alice.resize(&one, None, mib(1000), grace).await.unwrap();
    assert_eq!(alice.start(&one).await.unwrap_err().code(), "quota");
    alice.suspend(&at("two")).await.unwrap();
    assert_eq!(alice.start(&one).await.unwrap_err().code(), "quota", "its memory is in place");
    alice.stop(&at("two"), grace).await.unwrap();
    alice.start(&one).await.unwrap();
}

#[tokio::test]
async fn networks_are_their_users_and_a_stopped_box_joins_another() {
    let lab = lab();
    let herd = lab.herd().await;
    let (alice, bob) = (user(&herd, "alice", None).await, user(&herd, "bob", None).await);
    let back: NetworkName = "back".parse().unwrap();
    alice.make_network(&back).await.unwrap();
    assert_eq!(alice.make_network(&back).await.unwrap_err().code(), "taken");
    let default = NetworkName::default_network();
    assert_eq!(alice.make_network(&default).await.unwrap_err().code(), "taken");
    let known = alice.networks().await.unwrap();
    assert_eq!(known.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["default", "back"]);
    assert_eq!(known[0].id, alice.default_network().unwrap());

    let made = alice.create(spec("web").into()).await.unwrap();
    assert_eq!(alice.network_of(&made).await.unwrap(), None);
    let running = alice.set_network(&at("web"), &back).await.unwrap_err();
    assert_eq!(running.code(), "not-stopped");
    alice.stop(&at("web"), Duration::ZERO).await.unwrap();
    let moved = alice.set_network(&at("web"), &back).await.unwrap();
    assert_eq!(alice.network_of(&moved).await.unwrap().as_deref(), Some("back"));

    // What another's network is called is no way into it, by its user's name or the engine's.
    let boxherd_model::NetworkSpec::Bridge { name: engines, .. } = &moved.spec.network else {
        panic!("a bridge")
    };
    bob.create(spec("web").into()).await.unwrap();
    bob.stop(&at("web"), Duration::ZERO).await.unwrap();
    for name in [&back, engines, &known[0].id.parse().unwrap()] {
        assert_eq!(bob.set_network(&at("web"), name).await.unwrap_err().code(), "no-such");
    }
    bob.make_network(&back).await.unwrap();
    let bobs = bob.set_network(&at("web"), &back).await.unwrap();
    assert_ne!(bobs.spec.network, moved.spec.network);
    let home = alice.set_network(&at("web"), &default).await.unwrap();
    assert_eq!(alice.network_of(&home).await.unwrap(), None);
}

#[tokio::test]
async fn a_stopped_box_gets_another_list_of_what_it_may_reach() {
    let lab = lab();
    let herd = lab.herd().await;
    herd.create(spec("web").into()).await.unwrap();
    let rules = || Some(vec!["example.com:443".parse().unwrap()]);
    assert_eq!(herd.set_egress(&at("web"), rules()).await.unwrap_err().code(), "not-stopped");
    herd.stop(&at("web"), Duration::ZERO).await.unwrap();
    let told = herd.set_egress(&at("web"), rules()).await.unwrap();
    let boxherd_model::NetworkSpec::Bridge { egress, .. } = &told.spec.network else {
        panic!("a bridge")
    };
    assert_eq!(*egress, rules());
}
