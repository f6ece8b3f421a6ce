//! Domains, with the SDK.

use boxherd_client::{Error, NewBox};

use crate::server::with_server;

with_server! {
    a_domain_leads_to_a_box(server) {
        let client = server.client().await;
        let made = client.boxes().create(NewBox::named("web")).await.unwrap();
        let domains = client.domains();
        let bound = domains.bind("www.example.com", "web").await.unwrap();
        assert_eq!((bound.box_id.as_str(), bound.status.as_str()), (made.id.as_str(), "active"));
        assert_eq!(domains.list().await.unwrap(), [bound]);
        let taken = domains.bind("www.example.com", "web").await;
        assert!(matches!(taken, Ok(_) | Err(Error::Exists(_))), "{taken:?}");
        domains.unbind("www.example.com").await.unwrap();
        assert!(domains.list().await.unwrap().is_empty());
        client.boxes().destroy("web").await.unwrap();
    }
}
