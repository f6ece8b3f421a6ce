//! Snapshots, with the SDK.

use boxherd_client::{Error, NewBox};

use crate::sdk::output;
use crate::server::with_server;

with_server! {
    boxes_are_made_of_a_snapshot_that_outlives_its_box(server) {
        let client = server.client().await;
        let (boxes, snapshots) = (client.boxes(), client.snapshots());
        boxes.create(NewBox::named("web")).await.unwrap();
        output(&client, "web", "echo note > /srv/note").await;
        boxes.stop("web").await.unwrap();
        let made = snapshots.create("web", "golden").await.unwrap();
        assert_eq!((made.name.as_str(), made.status.as_str()), ("golden", "ready"));
        boxes.destroy("web").await.unwrap();
        assert_eq!(snapshots.get("golden").await.unwrap().id, made.id);
        assert_eq!(snapshots.list().await.unwrap().len(), 1);
        let copy = snapshots.create_box("golden", Some("copy"), &[("of", "golden")]).await.unwrap();
        assert_eq!((copy.name.as_str(), copy.labels["of"].as_str()), ("copy", "golden"));
        assert_eq!(output(&client, "copy", "cat /srv/note").await.stdout, b"note\n");
        boxes.destroy("copy").await.unwrap();
        snapshots.remove("golden").await.unwrap();
        let gone = snapshots.get("golden").await;
        assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    }
}
