//! Proxies, with the SDK.

use boxherd_client::{Error, NewBox};

use crate::server::with_server;

with_server! {
    proxies_lead_to_ports(server) {
        let client = server.client().await;
        let new = NewBox { proxies: vec![("api".to_owned(), 8080)], ..NewBox::named("web") };
        client.boxes().create(new).await.unwrap();
        let proxies = client.proxies("web");
        let made = proxies.create("admin", None).await.unwrap();
        assert_eq!((made.domain.as_str(), made.port), ("admin.web.localhost", None));
        proxies.set_port("admin", Some(9000)).await.unwrap();
        proxies.set_port("", None).await.unwrap();
        let mut listed = proxies.list().await.unwrap();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        let seen: Vec<_> = listed.iter().map(|proxy| (proxy.name.as_str(), proxy.port)).collect();
        assert_eq!(seen, [("", None), ("admin", Some(9000)), ("api", Some(8080))]);
        assert!(listed.iter().all(|proxy| proxy.effective_port != 0), "{listed:?}");
        proxies.remove("admin").await.unwrap();
        let gone = proxies.remove("admin").await;
        assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
        client.boxes().destroy("web").await.unwrap();
    }
}
