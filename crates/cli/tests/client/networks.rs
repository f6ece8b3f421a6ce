//! Networks, with the SDK.

use boxherd_client::{Error, NewBox};

use crate::server::with_server;

with_server! {
    boxes_are_put_into_networks(server) {
        let client = server.client().await;
        let (boxes, networks) = (client.boxes(), client.networks());
        let id = networks.create("back").await.unwrap();
        let listed = networks.list().await.unwrap();
        assert!(listed.iter().any(|network| network.id == id), "{listed:?}");
        let new = NewBox { network: Some("back".to_owned()), ..NewBox::named("db") };
        assert_eq!(boxes.create(new).await.unwrap().networks, ["back"]);
        let runs = boxes.set_networks("db", &[]).await;
        assert!(matches!(runs, Err(Error::WrongState(_))), "{runs:?}");
        boxes.stop("db").await.unwrap();
        assert!(boxes.set_networks("db", &[]).await.unwrap().is_empty());
        assert_eq!(boxes.set_egress("db", &["10.0.0.1:443"]).await.unwrap(), ["10.0.0.1:443"]);
        assert_eq!(boxes.get("db").await.unwrap().egress, ["10.0.0.1:443"]);
        assert!(boxes.set_egress("db", &[]).await.unwrap().is_empty());
        boxes.destroy("db").await.unwrap();
    }
}
