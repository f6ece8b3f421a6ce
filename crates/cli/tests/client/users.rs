//! Users of a server, with the SDK and the command line.

use boxherd_client::{Client, Error, Grant, Quota, UserChange};

use crate::server::{Server, with_server};

with_server! {
    users_are_made_and_changed(server) {
        let client = server.client().await;
        let users = client.users();
        let quota = Quota { boxes: Some(0), memory: Some(1 << 30), ..Quota::default() };
        let bob = users.create("bob", false, quota).await.unwrap();
        assert_eq!((bob.name.as_str(), bob.admin, bob.quota), ("bob", false, quota));
        let again = users.create("bob", true, Quota::default()).await;
        assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
        let nonsense = users.create("Bob!", true, Quota::default()).await;
        assert!(matches!(nonsense, Err(Error::Invalid(_))), "{nonsense:?}");

        let made = client.keys().create_for("bob", "laptop", None).await.unwrap();
        let as_bob = Client::connect(&server.url, &made.api_key).await.unwrap();
        assert_eq!(as_bob.whoami().await.unwrap().name, "bob");
        let held = as_bob.boxes().create(boxherd_client::NewBox::named("web")).await;
        assert!(matches!(held, Err(Error::Quota(_))), "{held:?}");

        // What is not named stays, and a limit can be taken away.
        let change = UserChange { boxes: Some(Some(3)), ..UserChange::default() };
        let bob = users.change("bob", change).await.unwrap();
        assert_eq!(bob.quota, Quota { boxes: Some(3), memory: Some(1 << 30), ..Quota::default() });
        let change = UserChange { memory: Some(None), admin: Some(true), ..UserChange::default() };
        let bob = users.change("bob", change).await.unwrap();
        assert!(bob.admin);
        assert_eq!(bob.quota, Quota { boxes: Some(3), ..Quota::default() });
        let names: Vec<_> = users.list().await.unwrap().into_iter().map(|user| user.name).collect();
        assert_eq!(names, ["admin", "bob"]);
        let nobody = users.change("nobody", UserChange::default()).await;
        assert!(matches!(nobody, Err(Error::NotFound(_))), "{nobody:?}");
    }

    grants_are_given_and_taken_back(server) {
        let client = server.client().await;
        let users = client.users();
        users.create("ann", false, Quota::default()).await.unwrap();
        users.create("bob", false, Quota::default()).await.unwrap();
        let of_ann = Grant { engine: "local".to_owned(), owner: Some("ann".to_owned()) };
        let of_all = Grant { engine: "local".to_owned(), owner: None };
        users.grant("bob", &of_ann).await.unwrap();
        users.grant("bob", &of_all).await.unwrap();
        let mut given = users.grants("bob").await.unwrap();
        given.sort_by_key(|grant| grant.owner.is_some());
        assert_eq!(given, [of_all.clone(), of_ann.clone()]);
        users.revoke("bob", &of_all).await.unwrap();
        assert_eq!(users.grants("bob").await.unwrap(), [of_ann]);
        let twice = users.revoke("bob", &of_all).await;
        assert!(matches!(twice, Err(Error::NotFound(_))), "{twice:?}");
        let elsewhere = Grant { engine: "nowhere".to_owned(), owner: None };
        let elsewhere = users.grant("bob", &elsewhere).await;
        assert!(matches!(elsewhere, Err(Error::NotFound(_))), "{elsewhere:?}");
    }

    what_is_for_administrators_is_denied_to_others(server) {
        let client = server.client().await;
        let made = client.keys().create_for("eve", "", None).await.unwrap();
        let eve = Client::connect(&server.url, &made.api_key).await.unwrap();
        let (users, images) = (eve.users(), eve.images());
        let grant = Grant { engine: "local".to_owned(), owner: None };
        let file = tempfile::NamedTempFile::new().unwrap();
        let answers = [
            ("create", users.create("mallory", true, Quota::default()).await.err()),
            ("list", users.list().await.err()),
            ("change", users.change("eve", UserChange { admin: Some(true), ..UserChange::default() }).await.err()),
            ("grant", users.grant("eve", &grant).await.err()),
            ("revoke", users.revoke("eve", &grant).await.err()),
            ("grants", users.grants("eve").await.err()),
            ("a key", eve.keys().create_for("admin", "", None).await.err()),
            ("keys", eve.keys().list_of("admin").await.err()),
            ("pull", images.pull("debian:bookworm", |_| {}).await.err()),
            ("import", images.import("host-like", file.path(), |_| {}).await.err()),
            ("rm", images.remove("some").await.err()),
        ];
        for (what, answer) in answers {
            assert!(matches!(answer, Some(Error::Denied(_))), "{what}: {answer:?}");
        }
        assert_eq!(images.list().await.unwrap(), []);
        let names: Vec<_> =
            client.users().list().await.unwrap().into_iter().map(|user| user.name).collect();
        assert_eq!(names, ["admin", "eve"]);
    }
}

#[test]
fn the_command_line_says_of_a_servers_users_what_it_says_here() {
    let test = "the_command_line_says_of_a_servers_users_what_it_says_here";
    let Some(server) = Server::open(test) else { return };
    server.boxherd(&["user", "create", "bob", "--boxes", "3", "--memory", "2GiB"]).ok();
    server.boxherd(&["user", "set", "bob", "--memory", "none", "--disk", "10GiB"]).ok();
    server.boxherd(&["user", "grant", "bob", "local/admin"]).ok();
    server.boxherd(&["user", "grant", "bob", "local"]).ok();
    server.boxherd(&["key", "create", "--user", "bob", "laptop"]).ok();
    // A user who is not there is made, as here.
    server.boxherd(&["key", "create", "--user", "carol"]).ok();
    let same = |command: &[&str], format| {
        let ask = [command, &["-o", format]].concat();
        let (here, there) = (server.lab.boxherd(&ask).ok(), server.boxherd(&ask).ok());
        assert_eq!(there, here, "{ask:?}");
    };
    for format in ["table", "json", "yaml", "name"] {
        same(&["user", "ls"], format);
        same(&["user", "grants", "bob"], format);
    }
    // Times of keys are whole seconds on the wire.
    same(&["key", "ls", "--user", "bob"], "name");
    same(&["key", "ls", "--user", "carol"], "name");
    server.boxherd(&["user", "revoke", "bob", "local"]).ok();
    assert_eq!(server.boxherd(&["user", "grants", "bob", "-q"]).ok(), "local/admin\n");
}
