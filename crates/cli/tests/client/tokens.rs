//! Tokens, with the SDK.

use boxherd_client::{Client, Error};

use crate::server::with_server;

with_server! {
    a_token_is_made_used_and_taken_back(server) {
        let client = server.client().await;
        let tokens = client.tokens();
        let made = tokens.create(None).await.unwrap();
        assert!(!format!("{made:?}").contains(&made.token));
        let builder = Client::builder().endpoint(&server.url).token(&made.token);
        let other = builder.connect().await.unwrap();
        assert_eq!(other.whoami().await.unwrap().name, "admin");
        let listed = tokens.list().await.unwrap();
        assert_eq!((listed.len(), listed[0].expires), (1, made.expires));
        tokens.revoke(&listed[0].id).await.unwrap();
        let refused = other.whoami().await;
        assert!(matches!(refused, Err(Error::Unauthenticated(_))), "{refused:?}");
        assert!(tokens.list().await.unwrap().is_empty());
    }
}
