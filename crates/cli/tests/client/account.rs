//! Who one is, with the SDK.

use crate::server::with_server;

/// Made for this test by `ssh-keygen`; its other half was thrown away.
const PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIsJT0m/IJDTIrxUodV4a3Zg4tzi6I4P8VzRQuaWy13+ test";

with_server! {
    one_knows_who_one_is(server) {
        let client = server.client().await;
        let me = client.whoami().await.unwrap();
        assert_eq!(me.name, "admin");
        assert!(!me.user_id.is_empty() && !me.default_network.is_empty());
        assert!(me.fingerprints.is_empty());
        client.link_ssh_key(PUBLIC, "laptop").await.unwrap();
        let linked = client.whoami().await.unwrap().fingerprints;
        assert!(linked.len() == 1 && linked[0].starts_with("SHA256:"), "{linked:?}");
        let config = client.config().await.unwrap();
        assert_eq!((config.default_image.as_str(), config.zone.as_str()), ("host", "localhost"));
    }
}
