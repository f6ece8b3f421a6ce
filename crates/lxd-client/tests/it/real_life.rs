//! The life of an instance on a real server.

use boxherd_lxd_client::{Auth, Error};

use crate::guest::{remove, tiny, unique, with_lab};

#[test]
fn the_server_tells_what_it_is() {
    with_lab("the_server_tells_what_it_is", |client, _| async move {
        let server = client.server().await.unwrap();
        assert_eq!(server.auth, Auth::Trusted);
        assert_eq!(server.environment.server, "lxd");
        assert!(!server.environment.server_clustered);
        server.require("container_exec_recording").unwrap();
        let missing = server.require("no_such_extension").unwrap_err();
        assert!(missing.to_string().contains("no_such_extension"), "{missing}");
    });
}

#[test]
fn an_instance_is_made_started_killed_and_deleted() {
    with_lab("an_instance_is_made_started_killed_and_deleted", |client, _| async move {
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
