//! Templates, variables, keys and checkpoints of users.

use boxherd_model::{Caller, ImageRef, Quota};

use super::*;

async fn user(herd: &Herd, name: &str) -> Herd {
    let user = herd.add_user(name.parse().unwrap(), false, Quota::default()).await.unwrap();
    herd.acting_for(Caller::User(user.id))
}

async fn said(herd: &Herd, name: &str, line: &str) -> String {
    let exec = herd.exec(&at(name), ExecRequest::shell(line)).await.unwrap();
    let done = exec.collect(Default::default(), 1 << 16).await.unwrap();
    String::from_utf8(done.stdout.to_vec()).unwrap()
}

#[tokio::test]
async fn boxes_are_made_of_templates_and_others_have_none_of_it() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let (alice, bob) = (user(&herd, "alice").await, user(&herd, "bob").await);
    let mut wanted = spec("small");
    wanted.env.insert("COLOUR".to_owned(), "red".to_owned());
    let made = alice.make_template(wanted.clone()).await.unwrap();
    assert_eq!(made.image, ImageRef::host());
    assert_eq!(alice.make_template(wanted.clone()).await.unwrap_err().code(), "taken");
    assert_eq!(alice.templates().await.unwrap(), std::slice::from_ref(&made));
    for name in ["small", &made.id.to_string()] {
        let spec = alice.template(name).await.unwrap().spec_of("web".parse().unwrap());
        assert_eq!((spec.name.as_str(), &spec.env), ("web", &wanted.env));
        assert_eq!(bob.template(name).await.unwrap_err().code(), "no-such");
        assert_eq!(bob.remove_template(name).await.unwrap_err().code(), "no-such");
    }
    assert!(bob.templates().await.unwrap().is_empty());
    bob.make_template(wanted.clone()).await.unwrap();
    alice.remove_template("small").await.unwrap();
    assert_eq!(alice.remove_template("small").await.unwrap_err().code(), "no-such");
    assert_eq!(bob.templates().await.unwrap().len(), 1);

    wanted.image = "nothing-here".parse().unwrap();
    assert_eq!(
        alice.make_template(wanted).await.unwrap_err().to_string(),
        "there is no image `nothing-here`"
    );
}

#[tokio::test]
async fn commands_find_the_variables_of_their_user_and_the_nearer_comes_first() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let (alice, bob) = (user(&herd, "alice").await, user(&herd, "bob").await);
    let plain = |text: &str| Worth::Plain(text.to_owned());
    let mut wanted = spec("web");
    wanted.env.insert("OF_SPEC".to_owned(), "spec".to_owned());
    alice.create(wanted.into()).await.unwrap();
    alice.create(spec("db").into()).await.unwrap();
    bob.create(spec("web").into()).await.unwrap();
    let web = Scope::Box(at("web"));
    alice.set_variable("A", plain("all"), &Scope::User).await.unwrap();
    alice.set_variable("A", plain("web"), &web).await.unwrap();
    alice.set_variable("OF_SPEC", plain("user"), &Scope::User).await.unwrap();
    let secret = Worth::Secret(Secret::new("hunter2".to_owned()));
    alice.set_variable("S", secret.clone(), &Scope::User).await.unwrap();

    let all = "echo $A $S $OF_SPEC";
    assert_eq!(said(&alice, "web", all).await, "web hunter2 spec\n");
    assert_eq!(said(&alice, "db", all).await, "all hunter2 user\n");
    assert_eq!(said(&bob, "web", all).await, "\n");
    let mut request = ExecRequest::shell("echo $A");
    request.env = vec![("A".to_owned(), "asked".to_owned())];
    let exec = alice.exec(&at("web"), request).await.unwrap();
    assert_eq!(exec.collect(Default::default(), 100).await.unwrap().stdout, "asked\n");

    let listed = alice.variables(true).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str(), &listed[0].value), (1, "S", &None));
    assert_eq!(alice.variables(false).await.unwrap().len(), 3);
    assert!(!format!("{secret:?}{listed:?}").contains("hunter2"));
    let taken = alice.set_variable("S", plain("seen"), &Scope::User).await.unwrap_err();
    assert_eq!(taken.code(), "taken");
    assert_eq!(
        alice.remove_variable("S", false, &Scope::User).await.unwrap_err().code(),
        "no-such"
    );

    alice.move_variable("S", &Scope::User, &web).await.unwrap();
    assert_eq!(said(&alice, "web", "echo $S").await, "hunter2\n");
    assert_eq!(said(&alice, "db", "echo $S").await, "\n");
    alice.delete(&at("web")).await.unwrap();
    assert!(alice.variables(true).await.unwrap().is_empty(), "it goes with its box");
}

#[tokio::test]
async fn variables_have_names_that_shells_know_and_boxes_of_ones_own() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let (alice, bob) = (user(&herd, "alice").await, user(&herd, "bob").await);
    alice.create(spec("web").into()).await.unwrap();
    let plain = || Worth::Plain("x".to_owned());
    for name in ["", "A B", "1A", "A=B", "Ä", "A\0", &"A".repeat(257)] {
        let refused = alice.set_variable(name, plain(), &Scope::User).await.unwrap_err();
        assert_eq!(refused.code(), "invalid", "{name}");
    }
    for value in ["a\0b".to_owned(), "x".repeat(64 * 1024 + 1)] {
        let refused = alice.set_variable("A", Worth::Plain(value), &Scope::User).await.unwrap_err();
        assert_eq!(refused.code(), "invalid");
    }
    let web = Scope::Box(at("web"));
    alice.set_variable("A", plain(), &web).await.unwrap();
    assert_eq!(bob.set_variable("A", plain(), &web).await.unwrap_err().code(), "no-such-box");
    assert_eq!(bob.remove_variable("A", false, &web).await.unwrap_err().code(), "no-such-box");
    let moved = bob.move_variable("A", &web, &Scope::User).await.unwrap_err();
    assert_eq!(moved.code(), "no-such-box");
}

#[tokio::test]
async fn a_running_box_goes_back_and_runs_again() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    herd.create(spec("web").into()).await.unwrap();
    said(&herd, "web", "echo before > note").await;
    let before: SnapshotName = "before".parse().unwrap();
    let none = herd.go_back(&at("web"), &before, Duration::ZERO).await.unwrap_err();
    assert_eq!(none.code(), "no-such-snapshot");
    assert_eq!(herd.show(&at("web")).await.unwrap().state, BoxState::Running, "it was left alone");
    herd.take_snapshot(&at("web"), &before).await.unwrap();
    said(&herd, "web", "echo after > note").await;
    let back = herd.go_back(&at("web"), &before, Duration::ZERO).await.unwrap();
    assert_eq!(back.state, BoxState::Running);
    assert_eq!(said(&herd, "web", "cat note").await, "before\n");
    herd.stop(&at("web"), Duration::ZERO).await.unwrap();
    let back = herd.go_back(&at("web"), &before, Duration::ZERO).await.unwrap();
    assert_eq!(back.state, BoxState::Stopped);
}

#[tokio::test]
async fn a_snapshot_that_is_left_by_a_server_that_went_away_is_removed_when_it_is_back() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let web = herd.create(spec("web").into()).await.unwrap().id;
    let before: SnapshotName = "before".parse().unwrap();
    // It was made, and the server was lost before it said so.
    lab.faults().next("snapshot.take.end", Trouble::Refuse);
    lab.faults().next("snapshot.remove", Trouble::Refuse);
    herd.take_snapshot(&at("web"), &before).await.unwrap_err();
    let kept = async || lab.engine.snapshots().unwrap().list(web).await.unwrap().len();
    assert_eq!(kept().await, 1);
    lab.faults().next("snapshot.remove", Trouble::Refuse);
    herd.reconcile().await.unwrap();
    assert_eq!((kept().await, herd.store.unfinished().await.unwrap().len()), (1, 1));
    herd.reconcile().await.unwrap();
    assert_eq!((kept().await, herd.store.unfinished().await.unwrap().len()), (0, 0));
    herd.take_snapshot(&at("web"), &before).await.unwrap();
    assert_eq!(kept().await, 1);
}

#[tokio::test]
async fn a_public_key_is_linked_once() {
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let lab = Lab::new();
    let herd = lab.herd().await;
    let (alice, bob) = (user(&herd, "alice").await, user(&herd, "bob").await);
    let print = alice.link_public_key(KEY, "laptop").await.unwrap();
    assert_eq!(alice.link_public_key(KEY, "").await.unwrap(), print);
    assert_eq!(alice.whoami().await.unwrap().fingerprints, [print]);
    assert_eq!(bob.link_public_key(KEY, "").await.unwrap_err().code(), "taken");
    assert_eq!(herd.link_public_key(KEY, "").await.unwrap_err().code(), "denied");
}

#[tokio::test]
async fn a_saved_box_outlives_its_source_and_is_no_box() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    let (alice, bob) = (user(&herd, "alice").await, user(&herd, "bob").await);
    let mut wanted = spec("web");
    wanted.restart = RestartPolicy::Always;
    wanted.timers.delete_after = Some(3600);
    alice.create(wanted.into()).await.unwrap();
    said(&alice, "web", "echo first > note").await;
    let base: SnapshotName = "base".parse().unwrap();
    assert_eq!(bob.save(&at("web"), &base).await.unwrap_err().code(), "no-such-box");
    assert_eq!(alice.save(&at("web"), &base).await.unwrap().version, 1);
    said(&alice, "web", "echo second > note").await;
    let saved = alice.save(&at("web"), &base).await.unwrap();
    assert_eq!(saved.version, 2);
    assert_eq!(
        (saved.copy.state, saved.copy.spec.restart),
        (BoxState::Stopped, RestartPolicy::Never)
    );
    assert_eq!(saved.copy.spec.timers, Default::default(), "it does not go by itself");
    assert_eq!(alice.saved().await.unwrap().len(), 1);
    assert_eq!(alice.list().await.unwrap().boxes.len(), 2, "the first version is gone");
    assert!(alice.copies_saved().await.unwrap().contains(&saved.copy.id));
    alice.delete(&at("web")).await.unwrap();

    let made = alice.create_from_saved("base", "again".parse().unwrap()).await.unwrap();
    assert_eq!((made.state, made.spec.restart), (BoxState::Running, RestartPolicy::Always));
    assert_eq!(said(&alice, "again", "cat note").await, "second\n");
    for text in ["base", &saved.id.to_string()] {
        assert_eq!(alice.saved_as(text).await.unwrap().id, saved.id);
        assert_eq!(bob.saved_as(text).await.unwrap_err().code(), "no-such");
        assert_eq!(bob.remove_saved(text).await.unwrap_err().code(), "no-such");
        let theirs = bob.create_from_saved(text, "theirs".parse().unwrap()).await;
        assert_eq!(theirs.unwrap_err().code(), "no-such");
    }
    alice.remove_saved("base").await.unwrap();
    assert_eq!(alice.remove_saved("base").await.unwrap_err().code(), "no-such");
    assert_eq!(alice.list().await.unwrap().boxes.len(), 1);
    assert_eq!(said(&alice, "again", "cat note").await, "second\n");
    agree(&herd, &lab).await;
}
