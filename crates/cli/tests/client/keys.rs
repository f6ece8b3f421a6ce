//! API keys, with the SDK.

use std::time::Duration;

use boxherd_client::{Client, Error};

use crate::server::with_server;

with_server! {
    a_key_is_made_used_and_taken_back(server) {
        let client = server.client().await;
        let keys = client.keys();
        let made = keys.create("ci", Some(Duration::from_secs(3600))).await.unwrap();
        assert!(made.expires > 0 && !format!("{made:?}").contains(&made.api_key));
        let other = Client::connect(&server.url, &made.api_key).await.unwrap();
        assert_eq!(other.whoami().await.unwrap(), client.whoami().await.unwrap());
        let listed = keys.list().await.unwrap();
        let ci = listed.iter().find(|key| key.id == made.id).unwrap();
        assert!(ci.name == "ci" && made.api_key.starts_with(&ci.prefix) && ci.last_used > 0);
        keys.remove(&made.id).await.unwrap();
        let refused = other.whoami().await;
        assert!(matches!(refused, Err(Error::Unauthenticated(_))), "{refused:?}");
    }
}
