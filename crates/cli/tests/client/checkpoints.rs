//! Checkpoints, with the SDK.

use boxherd_client::{Error, NewBox};

use crate::sdk::output;
use crate::server::with_server;

with_server! {
    a_box_goes_back_to_a_checkpoint(server) {
        let client = server.client().await;
        client.boxes().create(NewBox::named("web")).await.unwrap();
        let checkpoints = client.checkpoints("web");
        output(&client, "web", "echo before > /srv/note").await;
        let made = checkpoints.create("first").await.unwrap();
        assert_eq!((made.name.as_str(), made.status.as_str()), ("first", "ready"));
        output(&client, "web", "echo after > /srv/note").await;
        checkpoints.restore("first").await.unwrap();
        assert_eq!(output(&client, "web", "cat /srv/note").await.stdout, b"before\n");
        let listed = checkpoints.list().await.unwrap();
        assert_eq!((listed.len(), listed[0].id.as_str()), (1, made.id.as_str()));
        checkpoints.remove("first").await.unwrap();
        let gone = checkpoints.restore("first").await;
        assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
        client.boxes().destroy("web").await.unwrap();
    }
}
