//! Machines of a server of LXD that are there already, for users of ours.

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

#[test]
fn who_has_a_grant_for_all_of_an_engine_finds_what_is_there_already() {
    let test = "who_has_a_grant_for_all_of_an_engine_finds_what_is_there_already";
    let Some(lxd) = boxherd_testkit::lxd_lab_or_skip(test) else { return };
    let Some(lab) = Lab::open(test) else { return };
    let socket = format!("unix:{}", lxd.socket.display());
    lab.boxherd(&["engine", "add", "lab", "--lxd", &socket]).ok();
    let name = format!("granted-{}", std::process::id());
    lxc(&lxd, &["launch", "-q", "tiny", &name]);
    let at = format!("lab:{name}");
    let server = Server::open_on(lab, &[]);
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
