//! The life of an instance on a real server.

use boxherd_lxd_client::{
    Auth, Error, ExecRequest, FileMeta, Found, Instance, InstancePut, NewFile, NewInstance,
    NewSnapshot, Source, StateChange,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::guest::{remove, tiny, unique, with_guest, with_lab};

#[test]
fn the_server_tells_what_it_is() {
    with_lab("the_server_tells_what_it_is", async |client, lab| {
        let server = client.server().await.unwrap();
        assert_eq!(server.auth, Auth::Trusted);
        assert_eq!(server.environment.server == "lxd", lab.kind == "lxc");
        assert!(!server.environment.server_clustered);
        server.require("container_exec_recording").unwrap();
        let missing = server.require("no_such_extension").unwrap_err();
        assert!(missing.to_string().contains("no_such_extension"), "{missing}");
    });
}

#[test]
fn an_instance_is_made_started_killed_and_deleted() {
    with_lab("an_instance_is_made_started_killed_and_deleted", async |client, _| {
        let guest = client.instance(&unique("life"));
        client.create_instance(&tiny(guest.name())).await.unwrap().wait().await.unwrap();
        assert_eq!(guest.get().await.unwrap().status, "Stopped");
        guest.start().await.unwrap();
        assert_eq!(guest.get().await.unwrap().status, "Running");
        assert!(guest.delete().await.is_err(), "it runs");
        remove(&guest).await;
        let error = guest.get().await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    });
}

#[test]
fn states_follow_each_other() {
    with_guest("states_follow_each_other", |guest| async move {
        let change = async |change| guest.change_state(change).await.unwrap().wait().await.unwrap();
        let status = async || guest.get().await.unwrap().status;
        change(StateChange::FREEZE).await;
        assert_eq!(status().await, "Frozen");
        change(StateChange::UNFREEZE).await;
        let state = guest.state().await.unwrap();
        assert_eq!(state.status, "Running");
        assert!(state.pid > 1 && state.processes >= 1, "{state:?}");
        assert!(state.network.unwrap().contains_key("lo"));
        change(StateChange::restart(20)).await;
        assert_ne!(guest.state().await.unwrap().pid, state.pid);
        change(StateChange::stop(20)).await;
        assert_eq!(status().await, "Stopped");
        assert!(guest.logs().await.unwrap().contains(&"lxc.log".to_owned()));
        assert!(guest.log("lxc.log").await.unwrap().chunk().await.is_ok());
        assert!(guest.log("exec_none.stdout").await.is_err());
    });
}

#[test]
fn one_call_lists_all_with_their_states() {
    with_guest("one_call_lists_all_with_their_states", |guest| async move {
        guest.create_snapshot(&snapshot("s")).await.unwrap().wait().await.unwrap();
        let all = guest.client().full_instances().await.unwrap();
        let mine = all.iter().find(|full| full.info.name == guest.name()).unwrap();
        assert_eq!(mine.info.status, "Running");
        assert!(mine.state.as_ref().unwrap().processes >= 1);
        assert_eq!(mine.snapshots.as_ref().unwrap()[0].name, "s");
        let plain = guest.client().instances().await.unwrap();
        assert!(plain.iter().any(|info| info.name == guest.name()));
    });
}

#[test]
fn configuration_is_patched_and_replaced_only_when_it_is_the_newest() {
    let name = "configuration_is_patched_and_replaced_only_when_it_is_the_newest";
    with_guest(name, |guest| async move {
        let (info, tag) = guest.get_tagged().await.unwrap();
        guest.patch(&json!({ "config": { "user.one": "1" } })).await.unwrap();
        let mut new = InstancePut::from(info);
        new.config.insert("user.two".into(), "2".into());
        let old = match guest.put(&new, Some(&tag)).await {
            Ok(operation) => operation.wait().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(old, Err(Error::Changed { .. })), "{old:?}");
        let (info, tag) = guest.get_tagged().await.unwrap();
        assert_eq!(info.config["user.one"], "1");
        let mut new = InstancePut::from(info);
        new.config.insert("user.two".into(), "2".into());
        guest.put(&new, Some(&tag)).await.unwrap().wait().await.unwrap();
        let config = guest.get().await.unwrap().config;
        assert_eq!((config["user.one"].as_str(), config["user.two"].as_str()), ("1", "2"));
    });
}

#[test]
fn snapshots_bring_back_what_was() {
    with_guest("snapshots_bring_back_what_was", |guest| async move {
        let meta = FileMeta { uid: 0, gid: 0, mode: 0o644 };
        let write = async |text: &'static str| {
            guest.write_file("/root/f", NewFile::with(meta), text).await.unwrap();
        };
        write("old").await;
        guest.create_snapshot(&snapshot("one")).await.unwrap().wait().await.unwrap();
        write("new").await;
        let taken = match guest.create_snapshot(&snapshot("one")).await {
            Ok(operation) => operation.wait().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");

        let copy = guest.client().instance(&unique("copy"));
        let source = Source::copy(&format!("{}/one", guest.name()));
        let profiles = Some(vec!["default".to_owned()]);
        let new = NewInstance { source, profiles, ..tiny(copy.name()) };
        guest.client().create_instance(&new).await.unwrap().wait().await.unwrap();
        let renamed = copy.rename(&unique("renamed")).await.unwrap();
        assert!(copy.get().await.unwrap_err().is_not_found());
        assert_eq!(read(&renamed).await, "old");
        remove(&renamed).await;

        guest.kill().await.unwrap();
        guest.restore("one", false).await.unwrap();
        assert_eq!(read(&guest).await, "old");
        let names: Vec<_> =
            guest.snapshots().await.unwrap().into_iter().map(|snapshot| snapshot.name).collect();
        assert_eq!(names, ["one"]);
        guest.delete_snapshot("one").await.unwrap();
        assert!(guest.delete_snapshot("one").await.unwrap_err().is_not_found());
        assert!(guest.restore("one", false).await.is_err());
    });
}

fn snapshot(name: &str) -> NewSnapshot {
    NewSnapshot { name: name.into(), ..NewSnapshot::default() }
}

async fn read(guest: &Instance) -> String {
    let Found::File(_, mut body) = guest.read_file("/root/f").await.unwrap() else { panic!() };
    let mut text = String::new();
    body.read_to_string(&mut text).await.unwrap();
    text
}

#[test]
fn a_stopped_instance_on_btrfs_is_made_and_its_console_is_read() {
    let name = "a_stopped_instance_on_btrfs_is_made_and_its_console_is_read";
    with_lab(name, async |client, _| {
        let guest = client.instance(&unique("bt"));
        let mut new = tiny(guest.name());
        let root = [("type", "disk"), ("path", "/"), ("pool", "bt")];
        let root = root.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        new.devices.insert("root".into(), root);
        client.create_instance(&new).await.unwrap().wait().await.unwrap();
        guest.start().await.unwrap();
        assert_eq!(&guest.console_log().await.unwrap()[..], b"");
        remove(&guest).await;
    });
}

#[test]
fn projects_do_not_see_each_other() {
    with_lab("projects_do_not_see_each_other", async |client, lab| {
        let project = unique("p");
        let lxc = |args: &[&str]| drop(lab.run(None, args));
        lxc(&[
            "project",
            "create",
            &project,
            "-q",
            "-c",
            "features.images=false",
            "-c",
            "features.profiles=false",
        ]);
        let inside = client.in_project(&project);
        let guest = inside.instance(&unique("in"));
        // Twice: the second one is awaited by events.
        for _ in 0..2 {
            inside.create_instance(&tiny(guest.name())).await.unwrap().wait().await.unwrap();
            assert_eq!(guest.get().await.unwrap().project, project);
            assert!(client.instance(guest.name()).get().await.unwrap_err().is_not_found());
            guest.start().await.unwrap();
            let recorded =
                guest.exec_recorded(&ExecRequest::new(["echo", "hi"]), 100).await.unwrap();
            assert_eq!(&recorded.stdout[..], b"hi\n");
            let mut exec = guest.exec(&ExecRequest::new(["cat"])).await.unwrap();
            exec.stdin.shutdown().await.unwrap();
            assert_eq!(exec.wait().await.unwrap(), 0);
            remove(&guest).await;
        }
        lxc(&["project", "delete", &project, "-q"]);
    });
}
