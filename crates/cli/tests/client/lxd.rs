//! What a server of ours has others do on a server of LXD.

use std::process::Command;

use boxherd_client::{Client, Error, Grant, Quota};
use boxherd_testkit::LxdLab;

use crate::lab::Lab;
use crate::server::Server;

fn lxc(server: &LxdLab, args: &[&str]) {
    let mut lxc = Command::new("lxc");
    let folders = [("LXD_DIR", "d1"), ("LXD_CONF", "conf")];
    lxc.args(args).envs(folders.map(|(name, folder)| (name, server.folder.join(folder))));
    assert!(lxc.status().expect("lxc runs").success(), "{args:?}");
}

/// A server of ours with the lab's as its engine `lab`.
fn open(test: &str) -> Option<(LxdLab, Server)> {
    let lxd = boxherd_testkit::lxd_lab_or_skip(test)?;
    let lab = Lab::open(test)?;
    let socket = format!("unix:{}", lxd.socket.display());
    lab.boxherd(&["engine", "add", "lab", "--lxd", &socket, "--pool", "bt"]).ok();
    Some((lxd, Server::open_on(lab, &[])))
}

#[test]
fn who_has_a_grant_for_all_of_an_engine_finds_what_is_there_already() {
    let test = "who_has_a_grant_for_all_of_an_engine_finds_what_is_there_already";
    let Some((lxd, server)) = open(test) else { return };
    let name = format!("granted-{}", std::process::id());
    lxc(&lxd, &["launch", "-q", "tiny", &name]);
    let at = format!("lab:{name}");
    tokio::runtime::Runtime::new().expect("an event loop").block_on(async {
        let client = server.client().await;
        client.users().create("ann", false, Quota::default()).await.unwrap();
        let key = client.keys().create_for("bob", "laptop", None).await.unwrap().api_key;
        let bob = Client::connect(&server.url, &key).await.unwrap();
        let denied = async |when: &str| {
            let found = bob.boxes().get(&at).await;
            assert!(matches!(found, Err(Error::NotFound(_))), "{when}: {found:?}");
        };
        denied("without a grant").await;
        let of_ann = Grant { engine: "lab".to_owned(), owner: Some("ann".to_owned()) };
        client.users().grant("bob", &of_ann).await.unwrap();
        denied("with a grant for the boxes of somebody").await;
        let all = Grant { engine: "lab".to_owned(), owner: None };
        client.users().grant("bob", &all).await.unwrap();
        assert!(matches!(bob.boxes().get("lab:no-such").await, Err(Error::NotFound(_))));
        let said = bob
            .boxes()
            .exec(&at, boxherd_client::Command::argv(["hostname"]))
            .await
            .unwrap()
            .output()
            .await
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), name);
        // It is the host's, and not one of his own.
        assert!(bob.boxes().list().await.unwrap().is_empty());
        client.users().revoke("bob", &all).await.unwrap();
        denied("once it was taken back").await;
    });
    server.lab.boxherd(&["rm", "--force", &at]).ok();
    lxc(&lxd, &["delete", "--force", &name]);
}

#[test]
fn files_sent_to_a_server_become_images_of_its_engines() {
    let test = "files_sent_to_a_server_become_images_of_its_engines";
    let Some((lxd, server)) = open(test) else { return };
    let of = |what: &str| format!("{what}-{}", std::process::id());
    let [metadata, rootfs] = ["tiny.meta.tar", "tiny.tar"].map(|file| lxd.cache.join(file));
    let [metadata, rootfs] = [&metadata, &rootfs].map(|path| path.to_str().expect("text"));
    let (split, plain) = (of("split"), of("plain"));
    let there = |args: &[&str]| server.boxherd(&[&["image", "--engine", "lab"], args].concat());
    there(&["import", &split, metadata, rootfs]).ok();
    there(&["import", &plain, rootfs]).ok();
    let listed = there(&["ls", "-q"]).ok();
    assert_eq!(listed, server.lab.boxherd(&["image", "ls", "-q", "--engine", "lab"]).ok());
    for image in [&split, &plain] {
        assert!(listed.lines().any(|line| line == image), "{listed}");
        let web = format!("lab:{image}");
        server.boxherd(&["create", &web, "--image", image]).ok();
        assert_eq!(server.boxherd(&["exec", &web, "echo", "alive"]).ok(), "alive\n");
        server.boxherd(&["rm", "--force", &web]).ok();
    }
    there(&["rm", &split, &plain]).ok();
    let said = there(&["rm", &split]);
    assert!(said.err.contains("no such image"), "{said:?}");
    assert!(!server.boxherd(&["image", "ls", "-q"]).ok().contains("tiny"), "those are its own");

    for (args, why) in [
        (&["import", "two", rootfs, rootfs][..], "no metadata of an image"),
        (&["build", "debian:bookworm"], "of the machine itself only"),
        (&["pull", "nowhere:alpine"], "nowhere"),
    ] {
        let refused = there(args);
        assert!(refused.code != Some(0) && refused.err.contains(why), "{args:?}: {refused:?}");
    }
    let two = server.boxherd(&["image", "import", "two", metadata, rootfs]);
    assert!(two.err.contains("are one file"), "{two:?}");
    let nowhere = server.boxherd(&["image", "ls", "--engine", "nowhere"]);
    assert!(nowhere.err.contains("nowhere"), "{nowhere:?}");

    // What others have on that server is for administrators.
    tokio::runtime::Runtime::new().expect("an event loop").block_on(async {
        let client = server.client().await;
        let key = client.keys().create_for("bob", "laptop", None).await.unwrap().api_key;
        let bob = Client::connect(&server.url, &key).await.unwrap();
        let on_lab = bob.images().on("lab");
        let listed = on_lab.list().await;
        assert!(matches!(listed, Err(Error::Denied(_))), "{listed:?}");
        let sent = on_lab.import_split("bobs", metadata, rootfs, |_| {}).await;
        assert!(matches!(sent, Err(Error::Denied(_))), "{sent:?}");
    });
}

#[test]
fn boxes_of_users_are_in_the_network_of_the_server_and_in_no_other() {
    let test = "boxes_of_users_are_in_the_network_of_the_server_and_in_no_other";
    let Some((lxd, server)) = open(test) else { return };
    let web = format!("lab:net-{}", std::process::id());
    server.boxherd(&["create", &web, "--image", "tiny"]).ok();
    assert_eq!(server.boxherd(&["exec", &web, "echo", "alive"]).ok(), "alive\n");
    for format in ["table", "json", "name"] {
        let listed = server.boxherd(&["ls", "-o", format]).ok();
        assert_eq!(listed, server.lab.boxherd(&["ls", "-o", format]).ok());
        assert!(listed.contains(&web[4..]), "{listed}");
    }
    server.boxherd(&["rm", "--force", &web]).ok();

    tokio::runtime::Runtime::new().expect("an event loop").block_on(async {
        let client = server.client().await;
        client.networks().create("mine").await.unwrap();
    });
    for (args, why) in [
        (&["--network", "mine"][..], "network of the server's profile"),
        (&["--isolated"], "network of the server's profile"),
        (&["--network", "no-such"], "no-such"),
    ] {
        let make = [&["create", &web, "--image", "tiny"], args].concat();
        let refused = server.boxherd(&make);
        assert!(refused.code != Some(0) && refused.err.contains(why), "{args:?}: {refused:?}");
    }
    drop(lxd);
}
